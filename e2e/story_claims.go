package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/policy"
	"esc-connector-lambda-go/e2e/road"
)

// What the pages claim of the stack is compared here with one that stands: its resources, the drawing of them, and the least that the
// deployer must be allowed.

// resources STATE compares the stack's resources with their page: their types with its table, and what each of them
// depends on with its drawing.
func (all pages) resources(ts *testscript.TestScript, _ bool, args []string) {
	var state struct {
		Deployment struct {
			Resources []struct {
				URN, Type    string
				Dependencies []string
			}
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &state))
	name := func(urn string) string { return urn[strings.LastIndex(urn, "::")+2:] }
	var told, made []string
	for _, row := range all.page("docs/RESOURCES.md").table("what-is-created", 0) {
		told = append(told, strings.Trim(row[2], "`"))
	}
	needs := map[string][]string{} // by resource
	for _, resource := range state.Deployment.Resources {
		if strings.HasPrefix(resource.Type, "pulumi:") {
			continue
		}
		made = append(made, resource.Type)
		needs[name(resource.URN)] = nil
		for _, urn := range resource.Dependencies {
			needs[name(resource.URN)] = append(needs[name(resource.URN)], name(urn))
		}
	}
	same := func(what string, told, made []string) {
		for _, list := range []*[]string{&told, &made} {
			slices.Sort(*list)
			*list = slices.Compact(*list)
		}
		if !slices.Equal(told, made) {
			ts.Fatalf("docs/RESOURCES.md tells of the %s\n  %s\nand the stack has\n  %s", what, strings.Join(told, "\n  "), strings.Join(made, "\n  "))
		}
	}
	same("types", told, made)
	drawn, edges := drawnResources(ts)
	same("resources", drawn, slices.Collect(maps.Keys(needs)))
	same("edges", edges, leastEdges(needs))
}

// drawnResources are the names of the boxes in the drawing of what gets created, and its edges as "from to".
func drawnResources(ts *testscript.TestScript) (names, edges []string) {
	text, err := os.ReadFile("../docs/resources.txt")
	ts.Check(err)
	for line := range strings.Lines(string(text)) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch kind {
		case "box", "secret":
			names = append(names, rest[strings.LastIndex(rest, "|")+1:])
		case "edge":
			edges = append(edges, rest)
		}
	}
	return names, edges
}

// leastEdges are those from a need to what needs it, without those that follow from others.
func leastEdges(needs map[string][]string) []string {
	var leads func(from, to string) bool
	leads = func(from, to string) bool {
		return from == to || slices.ContainsFunc(needs[to], func(need string) bool { return leads(from, need) })
	}
	var edges []string
	for name, direct := range needs {
		for _, need := range direct {
			follows := slices.ContainsFunc(direct, func(other string) bool { return other != need && leads(need, other) })
			if !follows {
				edges = append(edges, need+" "+name)
			}
		}
	}
	return edges
}

// calls-within checks that the deployer's policy allows every call since the database was there.
func callsWithin(ts *testscript.TestScript, _ bool, _ []string) {
	document, err := os.ReadFile("../docs/deployer-policy.json")
	ts.Check(err)
	first, err := strconv.Atoi(ts.Getenv("CALLS"))
	ts.Check(err)
	var outside []string
	calls := of(ts).cloud.AWS.Calls()[first:]
	for _, call := range calls {
		// IAM has another name for this service than signatures have.
		action := strings.Replace(call.Service, "tagging", "tag", 1) + ":" + actionName(call.Action)
		allowed, err := policy.Allows([]string{string(document)}, policy.Request{Action: action})
		ts.Check(err)
		if !allowed {
			outside = append(outside, action)
		}
	}
	slices.Sort(outside)
	if outside = slices.Compact(outside); len(outside) > 0 || len(calls) == 0 {
		ts.Fatalf("of %d calls, deployer-policy.json does not allow: %s", len(calls), strings.Join(outside, ", "))
	}
}

// names-within STATE checks that the deployer's policy, filled in for the stack dev of the project orders-rotation,
// names what the stack's state holds.
func namesWithin(ts *testscript.TestScript, _ bool, args []string) {
	template, err := os.ReadFile("../docs/deployer-policy.json")
	ts.Check(err)
	document := strings.NewReplacer("ACCOUNT", ts.Getenv("ACCOUNT"), "OWNER", ts.Getenv("ACCOUNT"), "REGION", road.Region, "PROJECT-STACK", "orders-rotation-dev",
		"VPC", ts.Getenv("VPC"), "api.pulumi.com", strings.TrimPrefix(ts.Getenv("ESC"), "https://")).Replace(string(template))
	var state struct {
		Deployment struct {
			Resources []struct {
				Type, URN string
				Outputs   struct{ ARN string }
			}
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &state))
	checked := 0
	for _, resource := range state.Deployment.Resources {
		arn := resource.Outputs.ARN
		var requests []policy.Request
		for action, on := range map[string]map[string]string{
			"aws:cloudwatch/eventRule:EventRule":                  {"events:PutRule": arn},
			"aws:cloudwatch/logGroup:LogGroup":                    {"logs:CreateLogGroup": arn, "logs:PutMetricFilter": arn},
			"aws:cloudwatch/metricAlarm:MetricAlarm":              {"cloudwatch:PutMetricAlarm": arn, "cloudwatch:DeleteAlarms": arn},
			"aws:ec2/securityGroup:SecurityGroup":                 {"ec2:CreateSecurityGroup": arn},
			"aws:iam/openIdConnectProvider:OpenIdConnectProvider": {"iam:CreateOpenIDConnectProvider": arn},
			"aws:iam/role:Role":                                   {"iam:CreateRole": arn},
			"aws:lambda/function:Function":                        {"lambda:CreateFunction": arn},
			"aws:s3/bucketV2:BucketV2":                            {"s3:CreateBucket": arn},
			// IAM knows no resource of a creation of these, by its lists of actions:
			// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html and list_awssigner.html
			"aws:lambda/codeSigningConfig:CodeSigningConfig": {"lambda:CreateCodeSigningConfig": "*", "lambda:DeleteCodeSigningConfig": arn},
			"aws:signer/signingProfile:SigningProfile":       {"signer:PutSigningProfile": "*", "signer:CancelSigningProfile": arn},
		}[resource.Type] {
			requests = append(requests, policy.Request{Action: action, Resource: on})
		}
		if strings.HasSuffix(resource.URN, "::executionRole") {
			requests = append(requests, policy.Request{Action: "iam:PassRole", Resource: arn,
				Context: map[string]string{"iam:PassedToService": "lambda.amazonaws.com"}})
		}
		for _, request := range requests {
			allowed, err := policy.Allows([]string{document}, request)
			ts.Check(err)
			if !allowed {
				ts.Fatalf("deployer-policy.json does not allow %s on %s", request.Action, request.Resource)
			}
			checked++
		}
	}
	if checked < 10 {
		ts.Fatalf("of the stack's resources only %d have been looked at", checked)
	}
}

// actionName is IAM's name of a call that the gateway knows by its method and path alone.
func actionName(call string) string {
	for pattern, name := range map[string]string{
		`^GET .*/tags/arn:`:    "ListTags",
		`^POST .*/tags/arn:`:   "TagResource",
		`^DELETE .*/tags/arn:`: "UntagResource",
	} {
		if regexp.MustCompile(pattern).MatchString(call) {
			return name
		}
	}
	return call
}
