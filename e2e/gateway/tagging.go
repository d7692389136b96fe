package gateway

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/signer"
)

// tagged is what has tags, as GetResources answers it.
type tagged struct {
	ResourceARN string
	Tags        []tag
}

type tag struct{ Key, Value string }

// serveTagging lets moto answer GetResources, and adds what moto does not list: signing profiles, those that are cancelled among
// them, and code signing configurations. GetResources answers for all types of resources but IAM's users and roles:
// https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/supported-services.html
func (g *Gateway) serveTagging(w http.ResponseWriter, r *http.Request, body []byte) {
	var request struct {
		TagFilters []struct {
			Key    string
			Values []string
		}
	}
	recorder := httptest.NewRecorder()
	g.moto.ServeHTTP(recorder, r)
	var answer struct {
		PaginationToken        string
		ResourceTagMappingList []tagged
	}
	if recorder.Code >= 300 || json.Unmarshal(body, &request) != nil || json.Unmarshal(recorder.Body.Bytes(), &answer) != nil {
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
		return
	}
	for arn, tags := range g.functions.signing.tags(r) {
		if !slices.ContainsFunc(request.TagFilters, func(filter struct {
			Key    string
			Values []string
		}) bool {
			return !slices.Contains(filter.Values, tags[filter.Key])
		}) {
			found := tagged{ResourceARN: arn}
			for key, value := range tags {
				found.Tags = append(found.Tags, tag{key, value})
			}
			answer.ResourceTagMappingList = append(answer.ResourceTagMappingList, found)
		}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(answer)
}

// tags are those of signing profiles and code signing configurations, by ARN.
func (s *signing) tags(r *http.Request) map[string]map[string]string {
	found := map[string]map[string]string{}
	s.mu.Lock()
	names := []string{}
	for name := range s.profiles {
		names = append(names, name)
	}
	for arn, config := range s.configs {
		found[arn] = config.Tags
	}
	s.mu.Unlock()
	client := signer.NewFromConfig(s.functions.config(regionOf(r)))
	for _, name := range names {
		profile, err := client.GetSigningProfile(r.Context(), &signer.GetSigningProfileInput{ProfileName: awssdk.String(name)})
		if err == nil {
			found[awssdk.ToString(profile.Arn)] = profile.Tags
		}
	}
	return found
}
