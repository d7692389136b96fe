package esc

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/robfig/cron/v3"

	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

// permissionNames are the API's, of those that a team can be given.
var permissionNames = map[string]access.Environment{
	"read": access.ReadEnvironment, "open": access.OpenEnvironment, "write": access.WriteEnvironment, "admin": access.AdminEnvironment,
}

func teamID(org, team string) string { return org + "/" + team }

// environmentGrant is a team's permission on an environment. The shapes here are
// those of Pulumi Cloud's REST API for teams.
type environmentGrant struct {
	ProjectName string `json:"projectName"`
	EnvName     string `json:"envName"`
	Permission  string `json:"permission,omitempty"`
}

// DeleteTeam deletes a team, as an administrator of the organization does.
func (s *Service) DeleteTeam(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	teams := s.options.Directory.Teams
	s.options.Directory.Teams = slices.DeleteFunc(slices.Clone(teams), func(team string) bool { return team == name })
}

// team answers the call itself where there is no such team.
func (s *Service) team(c call) (string, bool) {
	name := c.r.PathValue("team")
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.options.Directory.Teams, name) {
		rest.Fail(c.w, http.StatusNotFound, fmt.Sprintf("Not Found: Team %q not found", name))
		return "", false
	}
	return teamID(c.r.PathValue("org"), name), true
}

func (s *Service) getTeam(c call) {
	id, exists := s.team(c)
	if !exists {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	granted := []environmentGrant{}
	for environment, permission := range s.grants[id] {
		parts := strings.Split(environment, "/")
		granted = append(granted, environmentGrant{parts[1], parts[2], permission})
	}
	rest.Answer(c.w, http.StatusOK, map[string]any{"kind": "pulumi", "name": c.r.PathValue("team"), "environments": granted})
}

// updateTeam gives or takes a permission, which only the environment's administrators may.
func (s *Service) updateTeam(c call) {
	var request struct {
		Add    *environmentGrant `json:"addEnvironmentPermission"`
		Remove *environmentGrant `json:"removeEnvironment"`
	}
	if err := json.NewDecoder(c.r.Body).Decode(&request); err != nil {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	team, exists := s.team(c)
	if !exists {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, grant := range []*environmentGrant{request.Add, request.Remove} {
		if grant == nil {
			continue
		}
		environment := environmentID(c.r.PathValue("org"), grant.ProjectName, grant.EnvName)
		if _, err := s.lookup(c.user, environment, access.AdminEnvironment); err != nil {
			rest.Fail(c.w, err.status, err.message)
			return
		}
		if grant == request.Remove {
			delete(s.grants[team], environment)
			continue
		}
		if _, known := permissionNames[grant.Permission]; !known {
			rest.Fail(c.w, http.StatusBadRequest, fmt.Sprintf("Bad Request: unknown permission %q", grant.Permission))
			return
		}
		if s.grants[team] == nil {
			s.grants[team] = map[string]string{}
		}
		s.grants[team][environment] = grant.Permission
	}
	c.w.WriteHeader(http.StatusNoContent)
}

// schedule is when an environment is rotated. This service keeps schedules, and rotates by none.
type schedule struct {
	ID                    string          `json:"id,omitempty"`
	ScheduleCron          *string         `json:"scheduleCron,omitempty"`
	ScheduleOnce          *string         `json:"scheduleOnce,omitempty"`
	SecretRotationRequest json.RawMessage `json:"secretRotationRequest,omitempty"`
}

func (s *Service) createSchedule(c call) { s.writeSchedule(c, uuid.NewString()) }

func (s *Service) updateSchedule(c call) {
	s.mu.Lock()
	env := s.find(c, access.WriteEnvironment)
	known := false
	if env != nil {
		_, known = env.schedules[c.r.PathValue("schedule")]
	}
	s.mu.Unlock()
	switch {
	case env == nil:
	case !known:
		rest.Fail(c.w, http.StatusNotFound, "Not Found: schedule not found")
	default:
		s.writeSchedule(c, c.r.PathValue("schedule"))
	}
}

func (s *Service) writeSchedule(c call, id string) {
	var request schedule
	if err := json.NewDecoder(c.r.Body).Decode(&request); err != nil {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	if (request.ScheduleCron == nil) == (request.ScheduleOnce == nil) {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: one of scheduleCron and scheduleOnce is needed")
		return
	}
	if request.ScheduleCron != nil && !daily(*request.ScheduleCron) {
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: a schedule runs once a day at the most")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	env := s.find(c, access.WriteEnvironment)
	if env == nil {
		return
	}
	if _, known := env.schedules[id]; !known && len(env.schedules) > 0 {
		rest.Fail(c.w, http.StatusConflict, "Conflict: the environment has a schedule, and can have one")
		return
	}
	request.ID = id
	env.schedules[id] = request
	rest.Answer(c.w, http.StatusOK, request)
}

// daily reports whether the schedule begins no sooner than a day after it began before, as far as a year shows: the CLI's
// help on `pulumi env schedule new` tells of that limit, and of one schedule for an environment.
func daily(expression string) bool {
	schedule, err := cron.ParseStandard(expression)
	if err != nil {
		return false
	}
	first := schedule.Next(time.Now().UTC())
	for last := first; last.Before(first.AddDate(1, 0, 0)); {
		next := schedule.Next(last)
		if next.Sub(last) < 24*time.Hour {
			return false
		}
		last = next
	}
	return true
}

func (s *Service) listSchedules(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if env := s.find(c, access.ReadEnvironment); env != nil {
		rest.Answer(c.w, http.StatusOK, map[string]any{"schedules": slices.AppendSeq([]schedule{}, maps.Values(env.schedules))})
	}
}

func (s *Service) getSchedule(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	env := s.find(c, access.ReadEnvironment)
	if env == nil {
		return
	}
	found, exists := env.schedules[c.r.PathValue("schedule")]
	if !exists {
		rest.Fail(c.w, http.StatusNotFound, "Not Found: schedule not found")
		return
	}
	rest.Answer(c.w, http.StatusOK, found)
}

func (s *Service) deleteSchedule(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	env := s.find(c, access.WriteEnvironment)
	if env == nil {
		return
	}
	if _, known := env.schedules[c.r.PathValue("schedule")]; !known {
		rest.Fail(c.w, http.StatusNotFound, "Not Found: schedule not found")
		return
	}
	delete(env.schedules, c.r.PathValue("schedule"))
	c.w.WriteHeader(http.StatusNoContent)
}

// Schedules lists the cron expressions by which the environment is to be rotated, sorted.
func (s *Service) Schedules(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var crons []string
	if env, exists := s.environments[id]; exists {
		for _, schedule := range env.schedules {
			if schedule.ScheduleCron != nil {
				crons = append(crons, *schedule.ScheduleCron)
			}
		}
	}
	slices.Sort(crons)
	return crons
}

// Protect sets whether the environment is protected from deletion, which a user
// does in the console.
func (s *Service) Protect(id string, protected bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if env, exists := s.environments[id]; exists {
		env.protected = protected
	}
}
