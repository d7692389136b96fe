package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/signer"
	"github.com/google/uuid"
)

// signing is what moto lacks of AWS Signer, and of Lambda's code signing. A signed object is a copy of
// the unsigned one: what makes it signed is that the gateway knows its content and who signed it.
type signing struct {
	functions *functions

	mu       sync.Mutex
	profiles map[string]string // status by name, of cancelled ones too: a name is never free again
	jobs     map[string]job
	signed   map[signature]bool
	configs  map[string]*signingConfig // by ARN
	enforced map[string]string         // configuration's ARN by function
	failing  string                    // why the next job fails
}

// FailSigning lets the next signing job end as Failed, for that reason.
func (g *Gateway) FailSigning(reason string) {
	s := g.functions.signing
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = reason
}

type job struct {
	JobID        string         `json:"jobId"`
	Status       string         `json:"status"`
	StatusReason string         `json:"statusReason,omitempty"`
	ProfileName  string         `json:"profileName"`
	CreatedAt    int64          `json:"createdAt"`
	CompletedAt  int64          `json:"completedAt"`
	Source       map[string]any `json:"source"`
	SignedObject map[string]any `json:"signedObject,omitempty"`

	asked bool // how it ended is told at the second time
}

// signature is a content's, by a version of a profile.
type signature struct {
	content [sha256.Size]byte
	profile string // the version's ARN
}

type signingConfig struct {
	Arn               string `json:"CodeSigningConfigArn"`
	ID                string `json:"CodeSigningConfigId"`
	Description       string `json:",omitempty"`
	AllowedPublishers struct {
		SigningProfileVersionArns []string
	}
	CodeSigningPolicies struct {
		UntrustedArtifactOnDeployment string
	}
	LastModified string
	Tags         map[string]string `json:",omitempty"`
}

func newSigning(f *functions) *signing {
	return &signing{functions: f, profiles: map[string]string{}, jobs: map[string]job{}, signed: map[signature]bool{},
		configs: map[string]*signingConfig{}, enforced: map[string]string{}}
}

// Trust makes the content one that the version of a signing profile has signed, as a profile of another account does.
func (g *Gateway) Trust(content []byte, profileVersion string) {
	s := g.functions.signing
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signed[signature{sha256.Sum256(content), profileVersion}] = true
}

// Pulumi's account, its archive of a connector, and who signs that.
const (
	publisher        = "388588623842"
	publishedKey     = "aws-lambda/latest.zip"
	publishedProfile = "arn:aws:signer:us-west-2:388588623842:/signing-profiles/pulumi_esc_production_20250325212043887700000001/jva5X9nqMa"
)

// Publish makes the zip the last version of the archive that Pulumi publishes in the region.
func (g *Gateway) Publish(ctx context.Context, region string, zip []byte) error {
	config := g.functions.config(region)
	config.HTTPClient = &http.Client{Transport: accountTransport(publisher)}
	client, bucket := s3Client(config), awssdk.String("public-esc-rotator-lambdas-production-"+region)
	_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket: bucket, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(region)},
	})
	var there *s3types.BucketAlreadyOwnedByYou
	if err != nil && !errors.As(err, &there) {
		return fmt.Errorf("making the bucket %s: %w", *bucket, err)
	}
	_, err = client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket: bucket, VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled},
	})
	if err == nil {
		_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: awssdk.String(publishedKey), Body: bytes.NewReader(zip)})
	}
	if err != nil {
		return fmt.Errorf("publishing in the bucket %s: %w", *bucket, err)
	}
	g.Trust(zip, publishedProfile)
	return nil
}

// profileName is what Signer takes: https://docs.aws.amazon.com/signer/latest/api/API_PutSigningProfile.html
var profileName = regexp.MustCompile(`^[a-zA-Z0-9_]{2,64}$`)

func signerAction(r *http.Request) string {
	switch first, rest, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/"); r.Method + " " + first {
	case "POST signing-jobs":
		return "StartSigningJob"
	case "GET signing-jobs":
		return "DescribeSigningJob"
	case "PUT signing-profiles":
		return "PutSigningProfile"
	case "GET signing-profiles":
		return "GetSigningProfile"
	case "DELETE signing-profiles":
		return "CancelSigningProfile"
	case "POST tags":
		return "TagResource"
	case "DELETE tags":
		return "UntagResource"
	default:
		return r.Method + " " + first + "/" + rest
	}
}

// serveSigner answers AWS Signer's calls.
func (s *signing) serveSigner(w http.ResponseWriter, r *http.Request, body []byte) {
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	s.mu.Lock()
	known := s.profiles[name] != ""
	found, started := s.jobs[name]
	s.mu.Unlock()
	switch action := signerAction(r); {
	case action == "PutSigningProfile" && (known || !profileName.MatchString(name)):
		lambdaError(w, http.StatusBadRequest, "ValidationException", "Profile name "+name+" is invalid or taken")
	case action == "PutSigningProfile":
		s.profile(name, "Active")
		s.functions.gateway.moto.ServeHTTP(w, r)
	case action == "CancelSigningProfile" && known:
		s.profile(name, "Canceled")
		s.functions.gateway.moto.ServeHTTP(w, r)
	case action == "GetSigningProfile" && !known:
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "Signing profile "+name+" not found")
	case action == "StartSigningJob":
		s.start(w, r, body)
	case action == "DescribeSigningJob" && !started:
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "Signing job "+name+" not found")
	case action == "DescribeSigningJob":
		answer(w, http.StatusOK, s.progress(found))
	default:
		s.functions.gateway.moto.ServeHTTP(w, r)
	}
}

// progress is the job as Signer tells of it: a job takes a while, and so it is under way when it is asked for at first.
func (s *signing) progress(j job) job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.asked {
		return j
	}
	j.asked = true
	s.jobs[j.JobID] = j
	j.Status, j.StatusReason, j.CompletedAt, j.SignedObject = "InProgress", "", 0, nil
	return j
}

func (s *signing) profile(name, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.profiles[name] = status
}

// Signing lists the active signing profiles and the code signing configurations, a line each.
func (g *Gateway) Signing() []string {
	s := g.functions.signing
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for name, status := range s.profiles {
		if status == "Active" {
			lines = append(lines, "signer signing-profile "+name)
		}
	}
	for _, config := range s.configs {
		lines = append(lines, "lambda code-signing-config "+config.ID)
	}
	slices.Sort(lines)
	return lines
}

func (s *signing) start(w http.ResponseWriter, r *http.Request, body []byte) {
	var request struct {
		ProfileName string
		Source      struct {
			S3 struct{ BucketName, Key, Version string }
		}
		Destination struct {
			S3 struct{ BucketName, Prefix string }
		}
	}
	if err := json.Unmarshal(body, &request); err != nil {
		lambdaError(w, http.StatusBadRequest, "ValidationException", err.Error())
		return
	}
	ctx, config, source := r.Context(), s.functions.config(regionOf(r)), request.Source.S3
	objects := s3Client(config)
	versioning, err := objects.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &source.BucketName})
	if err == nil && (versioning.Status != s3types.BucketVersioningStatusEnabled || source.Version == "") {
		err = errors.New("the source must be a version of an object in a versioned bucket")
	}
	var content []byte
	if err == nil {
		content, err = object(ctx, objects, source.BucketName, source.Key, source.Version)
	}
	var profile *signer.GetSigningProfileOutput
	if err == nil {
		profile, err = signer.NewFromConfig(config).GetSigningProfile(ctx, &signer.GetSigningProfileInput{ProfileName: &request.ProfileName})
	}
	if err == nil && profile.Status != "Active" {
		err = fmt.Errorf("signing profile %s is %s", request.ProfileName, profile.Status)
	}
	id := uuid.NewString()
	key := request.Destination.S3.Prefix + id + ".zip"
	if err == nil {
		_, err = objects.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &request.Destination.S3.BucketName, Key: &key, Body: bytes.NewReader(content)})
	}
	if err != nil {
		lambdaError(w, http.StatusBadRequest, "ValidationException", err.Error())
		return
	}
	now := time.Now().Unix()
	made := job{JobID: id, Status: "Succeeded", ProfileName: request.ProfileName, CreatedAt: now, CompletedAt: now,
		Source:       map[string]any{"s3": map[string]string{"bucketName": source.BucketName, "key": source.Key, "version": source.Version}},
		SignedObject: map[string]any{"s3": map[string]string{"bucketName": request.Destination.S3.BucketName, "key": key}}}
	s.mu.Lock()
	if s.failing != "" {
		made.Status, made.StatusReason, made.SignedObject = "Failed", s.failing, nil
		s.failing = ""
	}
	s.jobs[id] = made
	s.mu.Unlock()
	if made.Status == "Succeeded" {
		s.functions.gateway.Trust(content, *profile.ProfileVersionArn)
	}
	answer(w, http.StatusOK, map[string]string{"jobId": id, "jobOwner": s.functions.gateway.options.Account})
}

func s3Client(config awssdk.Config) *s3.Client {
	return s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true })
}

// object is the content of a version of an object; of the last one, where version is empty.
func object(ctx context.Context, client *s3.Client, bucket, key, version string) ([]byte, error) {
	request := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
	if version != "" {
		request.VersionId = &version
	}
	live, err := client.GetObject(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("reading s3://%s/%s: %w", bucket, key, err)
	}
	content, err := io.ReadAll(live.Body)
	return content, errors.Join(err, live.Body.Close())
}

var signingConfigPath = regexp.MustCompile(`^/\d{4}-\d{2}-\d{2}/(code-signing-configs|functions)/?([^/]+)?(/code-signing-config)?/?$`)

// signingConfigAction is Lambda's action on code signing configurations, and of which configuration or
// function; empty where the call is another.
func signingConfigAction(r *http.Request) (action, of string) {
	match := signingConfigPath.FindStringSubmatch(r.URL.EscapedPath())
	if match == nil || (match[1] == "functions") == (match[3] == "") {
		return "", ""
	}
	of, err := url.PathUnescape(match[2])
	if err != nil {
		return "", ""
	}
	verb := map[string]string{http.MethodPost: "Create", http.MethodGet: "Get", http.MethodPut: "Update", http.MethodDelete: "Delete"}[r.Method]
	switch {
	case match[1] == "code-signing-configs":
		return verb + "CodeSigningConfig", of
	case r.Method == http.MethodPut:
		return "PutFunctionCodeSigningConfig", of
	default:
		return verb + "FunctionCodeSigningConfig", of
	}
}

// serveConfigs answers Lambda's calls on code signing configurations.
func (s *signing) serveConfigs(w http.ResponseWriter, r *http.Request, body []byte) {
	action, of := signingConfigAction(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	config := s.configs[of]
	if of != "" && config == nil && !strings.Contains(action, "Function") {
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "Code signing configuration not found: "+of)
		return
	}
	var request signingConfig
	if len(body) > 0 {
		if err := json.Unmarshal(body, &request); err != nil {
			lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", err.Error())
			return
		}
	}
	name := functionName(of)
	switch action {
	case "CreateCodeSigningConfig", "UpdateCodeSigningConfig":
		status := http.StatusOK
		made := request
		if config == nil {
			status = http.StatusCreated
			made.ID = "csc-" + strings.ReplaceAll(uuid.NewString(), "-", "")[:17]
			made.Arn = fmt.Sprintf("arn:%s:lambda:%s:%s:code-signing-config:%s",
				partition(regionOf(r)), regionOf(r), s.functions.gateway.options.Account, made.ID)
		} else {
			made = *config
			if request.Description != "" {
				made.Description = request.Description
			}
			if len(request.AllowedPublishers.SigningProfileVersionArns) > 0 {
				made.AllowedPublishers = request.AllowedPublishers
			}
			if request.CodeSigningPolicies.UntrustedArtifactOnDeployment != "" {
				made.CodeSigningPolicies = request.CodeSigningPolicies
			}
		}
		made.LastModified = time.Now().UTC().Format(time.RFC3339)
		s.configs[made.Arn] = &made
		answer(w, status, map[string]any{"CodeSigningConfig": made})
	case "GetCodeSigningConfig":
		answer(w, http.StatusOK, map[string]any{"CodeSigningConfig": config})
	case "DeleteCodeSigningConfig":
		for function, used := range s.enforced {
			if used == of {
				lambdaError(w, http.StatusConflict, "ResourceConflictException", "Code signing configuration is in use by "+function)
				return
			}
		}
		delete(s.configs, of)
		w.WriteHeader(http.StatusNoContent)
	case "PutFunctionCodeSigningConfig":
		if s.configs[request.Arn] == nil {
			lambdaError(w, http.StatusNotFound, "CodeSigningConfigNotFoundException", "The specified code signing configuration does not exist.")
			return
		}
		s.enforced[name] = request.Arn
		answer(w, http.StatusOK, map[string]string{"FunctionName": name, "CodeSigningConfigArn": request.Arn})
	case "GetFunctionCodeSigningConfig":
		found := map[string]string{"FunctionName": name}
		if arn := s.enforced[name]; arn != "" {
			found["CodeSigningConfigArn"] = arn
		}
		answer(w, http.StatusOK, found)
	default: // DeleteFunctionCodeSigningConfig
		delete(s.enforced, name)
		w.WriteHeader(http.StatusNoContent)
	}
}

// serveTags answers Lambda's calls on the tags of a configuration.
func (s *signing) serveTags(w http.ResponseWriter, r *http.Request, body []byte) {
	arn, err := url.PathUnescape(r.URL.EscapedPath()[strings.LastIndex(r.URL.EscapedPath(), "/tags/")+len("/tags/"):])
	s.mu.Lock()
	defer s.mu.Unlock()
	config := s.configs[arn]
	if err != nil || config == nil {
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "Code signing configuration not found: "+arn)
		return
	}
	switch r.Method {
	case http.MethodGet:
		answer(w, http.StatusOK, map[string]any{"Tags": config.Tags})
		return
	case http.MethodPost:
		var request struct{ Tags map[string]string }
		if err := json.Unmarshal(body, &request); err != nil {
			lambdaError(w, http.StatusBadRequest, "InvalidParameterValueException", err.Error())
			return
		}
		if config.Tags == nil {
			config.Tags = map[string]string{}
		}
		maps.Copy(config.Tags, request.Tags)
	case http.MethodDelete:
		for _, key := range r.URL.Query()["tagKeys"] {
			delete(config.Tags, key)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// attach has the function's code checked by that configuration from now on; empty ends it.
func (s *signing) attach(function, config string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.enforced, function)
	if config != "" {
		s.enforced[function] = config
	}
}

// attached is the ARN of the function's configuration, or empty.
func (s *signing) attached(function string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enforced[function]
}

// check refuses code that the configuration does not trust. Code that was uploaded in the call has no signature.
func (s *signing) check(arn string, content []byte, fromS3 bool) error {
	if arn == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	config := s.configs[arn]
	if config == nil {
		return errors.New("the specified code signing configuration does not exist")
	}
	if config.CodeSigningPolicies.UntrustedArtifactOnDeployment != "Enforce" {
		return nil
	}
	trusted := slices.ContainsFunc(config.AllowedPublishers.SigningProfileVersionArns, func(profile string) bool {
		return s.signed[signature{sha256.Sum256(content), profile}]
	})
	if !fromS3 || !trusted {
		return errors.New("the code signature failed one or more of the validation checks for signature mismatch or expiry, " +
			"and the code signing policy is set to ENFORCE. Lambda blocks the deployment")
	}
	return nil
}

// code is what the gateway tells of an archive, in the words of a FunctionConfiguration.
type code struct {
	CodeSha256 string
	CodeSize   int
	// SigningJobArn is empty of code that is not signed.
	SigningJobArn string `json:",omitempty"`
}

// jobOf is the ARN of the signing job that made the object, or empty.
func (s *signing) jobOf(r *http.Request, bucket, key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, job := range s.jobs {
		if made, _ := job.SignedObject["s3"].(map[string]string); key != "" && made["bucketName"] == bucket && made["key"] == key {
			region := regionOf(r)
			return fmt.Sprintf("arn:%s:signer:%s:%s:/signing-jobs/%s", partition(region), region, s.functions.gateway.options.Account, id)
		}
	}
	return ""
}

// inline reads the code that a call brings, or names in S3. It answers the content, and the call's body for moto, which
// gets the content's digest for the code: an archive is large, and of what moto keeps of it only ListFunctions tells. In
// CreateFunction the code stands under Code.
func (s *signing) inline(r *http.Request, body []byte, under string) (content []byte, bucket, key string, rewritten []byte, err error) {
	var request map[string]any
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, "", "", nil, err
	}
	code := request
	if under != "" {
		code, _ = request[under].(map[string]any)
	}
	text := func(key string) string { value, _ := code[key].(string); return value }
	bucket, key = text("S3Bucket"), text("S3Key")
	if bucket != "" {
		content, err = object(r.Context(), s3Client(s.functions.config(regionOf(r))), bucket, key, text("S3ObjectVersion"))
	} else {
		content, err = base64.StdEncoding.DecodeString(text("ZipFile"))
	}
	if err != nil {
		return nil, bucket, key, nil, err
	}
	if code == nil {
		return nil, bucket, key, nil, fmt.Errorf("the call has no %s", under)
	}
	for _, key := range []string{"S3Bucket", "S3Key", "S3ObjectVersion"} {
		delete(code, key)
	}
	digest := sha256.Sum256(content)
	code["ZipFile"] = digest[:]
	rewritten, err = json.Marshal(request)
	return content, bucket, key, rewritten, err
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}
