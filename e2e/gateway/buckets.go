package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"esc-connector-lambda-go/e2e/policy"
)

// buckets keeps the buckets' policies, whose conditions moto does not read.
type buckets struct {
	gateway *Gateway

	mu       sync.Mutex
	policies map[string]string
	// unversioned is how many more objects land without a version, though the bucket is versioned.
	unversioned int
}

// DelayVersioning lets the next objects land without a version in a bucket that was just versioned: S3 may take 15 minutes
// to switch that on everywhere (https://docs.aws.amazon.com/AmazonS3/latest/userguide/manage-versioning-examples.html).
func (g *Gateway) DelayVersioning(objects int) {
	g.buckets.mu.Lock()
	defer g.buckets.mu.Unlock()
	g.buckets.unversioned = objects
}

// serve answers S3's calls. The road's own calls stand for calls by TLS.
func (b *buckets) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	action := objectAction(r)
	bucket, key, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	b.mu.Lock()
	defer b.mu.Unlock()
	switch kept := b.policies[bucket]; action {
	case "PutBucketPolicy":
		b.policies[bucket] = string(body)
		w.WriteHeader(http.StatusNoContent)
	case "DeleteBucketPolicy":
		delete(b.policies, bucket)
		w.WriteHeader(http.StatusNoContent)
	case "GetBucketPolicy":
		if kept == "" {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, "<Error><Code>NoSuchBucketPolicy</Code><Message>The bucket policy does not exist</Message><BucketName>%s</BucketName></Error>", bucket)
			return
		}
		_, _ = io.WriteString(w, kept)
	default:
		if kept != "" && !b.allowed(w, r, kept, action, bucket, key) {
			return
		}
		if action == "PutObject" && b.unversioned > 0 {
			b.unversioned--
			b.putUnversioned(w, r, bucket)
			return
		}
		b.gateway.moto.ServeHTTP(w, r)
	}
}

// allowed reports whether the bucket's policy lets the call pass. Where not, it has refused it.
func (b *buckets) allowed(w http.ResponseWriter, r *http.Request, kept, action, bucket, key string) bool {
	resource := "arn:" + partition(regionOf(r)) + ":s3:::" + strings.TrimSuffix(bucket+"/"+key, "/")
	ours := `{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": {"AWS": "*"}}}`
	allowed, err := policy.Allows([]string{ours, kept}, policy.Request{
		Action: "s3:" + action, Resource: resource, PrincipalType: "AWS", Principal: "*",
		Context: map[string]string{"aws:SecureTransport": "true"},
	})
	if err == nil && allowed {
		return true
	}
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, "<Error><Code>AccessDenied</Code><Message>%s of %s by the bucket's policy: %v</Message></Error>", action, resource, err)
	return false
}

// putUnversioned puts the object as before the bucket was versioned.
func (b *buckets) putUnversioned(w http.ResponseWriter, r *http.Request, bucket string) {
	client := s3Client(b.gateway.functions.config(regionOf(r)))
	set := func(status types.BucketVersioningStatus) error {
		_, err := client.PutBucketVersioning(r.Context(), &s3.PutBucketVersioningInput{
			Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: status},
		})
		return err
	}
	if err := set(types.BucketVersioningStatusSuspended); err != nil {
		http.Error(w, "playing a bucket without versions: "+err.Error(), http.StatusInternalServerError)
		return
	}
	b.gateway.moto.ServeHTTP(w, r)
	if err := set(types.BucketVersioningStatusEnabled); err != nil {
		http.Error(w, "playing a bucket without versions: "+err.Error(), http.StatusInternalServerError)
	}
}

// objectActions are the IAM actions of calls on buckets and objects, by method and subresource.
var objectActions = map[string]string{
	"PUT versioning": "PutBucketVersioning", "PUT publicAccessBlock": "PutBucketPublicAccessBlock",
	"PUT encryption": "PutEncryptionConfiguration", "PUT policy": "PutBucketPolicy", "PUT tagging": "PutBucketTagging",
	"DELETE versioning": "PutBucketVersioning", "DELETE publicAccessBlock": "PutBucketPublicAccessBlock",
	"DELETE encryption": "PutEncryptionConfiguration", "DELETE policy": "DeleteBucketPolicy", "DELETE tagging": "PutBucketTagging",
	"GET versioning": "GetBucketVersioning", "GET publicAccessBlock": "GetBucketPublicAccessBlock",
	"GET encryption": "GetEncryptionConfiguration", "GET policy": "GetBucketPolicy", "GET tagging": "GetBucketTagging",
	"GET versions": "ListBucketVersions", "POST delete": "DeleteObjectVersion", "DELETE versionId": "DeleteObjectVersion",
}

// objectAction names an S3 call by the IAM action that it needs.
func objectAction(r *http.Request) string {
	bucket, key, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	for parameter := range r.URL.Query() {
		action := objectActions[r.Method+" "+parameter]
		if parameter == "tagging" && key != "" {
			action = map[string]string{http.MethodPut: "PutObjectTagging", http.MethodGet: "GetObjectTagging", http.MethodDelete: "DeleteObjectTagging"}[r.Method]
		}
		if action != "" {
			return action
		}
	}
	switch method := r.Method; {
	case bucket == "":
		return "ListAllMyBuckets"
	case method == http.MethodPut && key == "":
		return "CreateBucket"
	case method == http.MethodDelete && key == "":
		return "DeleteBucket"
	case key == "":
		return "ListBucket"
	case method == http.MethodPut:
		return "PutObject"
	case method == http.MethodDelete:
		return "DeleteObject"
	default:
		return "GetObject"
	}
}
