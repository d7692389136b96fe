package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"esc-connector-lambda-go/e2e/policy"
)

// buckets keeps the buckets' policies, whose conditions moto does not read.
type buckets struct {
	gateway *Gateway

	mu       sync.Mutex
	policies map[string]string
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
		_, _ = io.WriteString(w, kept)
	default:
		if kept != "" {
			resource := "arn:" + partition(regionOf(r)) + ":s3:::" + strings.TrimSuffix(bucket+"/"+key, "/")
			ours := `{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": {"AWS": "*"}}}`
			allowed, err := policy.Allows([]string{ours, kept}, policy.Request{
				Action: "s3:" + action, Resource: resource, PrincipalType: "AWS", Principal: "*",
				Context: map[string]string{"aws:SecureTransport": "true"},
			})
			if err != nil || !allowed {
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprintf(w, "<Error><Code>AccessDenied</Code><Message>%s of %s by the bucket's policy: %v</Message></Error>", action, resource, err)
				return
			}
		}
		b.gateway.moto.ServeHTTP(w, r)
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
	for parameter := range r.URL.Query() {
		if action := objectActions[r.Method+" "+parameter]; action != "" {
			return action
		}
	}
	bucket, key, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
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
