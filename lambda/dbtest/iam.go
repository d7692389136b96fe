package dbtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// IAM plays RDS and IAM in a login by RDS IAM authentication: it says whether a token lets a user in, by a signature that it
// derives itself. What RDS looks at beyond the signature is known from its user guide alone.
//
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html and, for the signature,
// https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
type IAM struct {
	// Host is RDS's own endpoint of the server, which a token has to name.
	Host string
	// Region is where the server is.
	Region string
	// Key is what AWS knows of an access key; not ok where there is none, or it has expired.
	Key func(accessKeyID string) (secret, sessionToken string, ok bool)
	// MayConnect reports whether a key's role or user may rds-db:connect as a database user of this server.
	MayConnect func(accessKeyID, user string) bool

	mu       sync.Mutex
	off      bool
	tokens   []string
	refusals []string
}

// TurnOff turns IAM authentication of the server off, or on again: no token lets anybody in then.
func (i *IAM) TurnOff(off bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.off = off
}

// Tokens are all that came, good or not.
func (i *IAM) Tokens() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.tokens)
}

// Refusals are the reasons of those that were refused, which RDS tells nobody.
func (i *IAM) Refusals() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.refusals)
}

// admit reports whether a token lets the user in at a port of the server.
func (i *IAM) admit(port int, user, token string) bool {
	err := i.check(port, user, token, time.Now())
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tokens = append(i.tokens, token)
	if i.off {
		err = errors.New("IAM authentication is off")
	}
	if err != nil {
		i.refusals = append(i.refusals, err.Error())
	}
	return err == nil
}

// How long a token is good, and how far the clock of who signed it may be ahead.
const tokenAge, clockSkew = 15 * time.Minute, 5 * time.Minute

// check says why a token is not good.
func (i *IAM) check(port int, user, token string, now time.Time) error {
	endpoint, query, cut := strings.Cut(token, "?")
	if !cut {
		return errors.New("no token")
	}
	if address := net.JoinHostPort(i.Host, strconv.Itoa(port)); endpoint != address+"/" && endpoint != address {
		return fmt.Errorf("signed for %s, and this is %s", endpoint, address)
	}
	values := map[string]string{}
	var signed []string // as they came: the canonical query is of the encoded words, in their order
	for _, pair := range strings.Split(query, "&") {
		name, encoded, _ := strings.Cut(pair, "=")
		value, err := url.PathUnescape(encoded) // in a token a blank is %20, and a + is one
		if _, twice := values[name]; err != nil || twice {
			return fmt.Errorf("the parameter %s is there twice, or is none", name)
		}
		values[name] = value
		if name != "X-Amz-Signature" {
			signed = append(signed, pair)
		}
	}
	slices.Sort(signed)
	credential := strings.Split(values["X-Amz-Credential"], "/")
	const parts = 5
	if len(credential) != parts {
		return errors.New("a credential that is none")
	}
	keyID, day, scope := credential[0], credential[1], strings.Join(credential[1:], "/")
	at, err := time.Parse("20060102T150405Z", values["X-Amz-Date"])
	secret, session, known := i.Key(keyID)
	switch {
	case !known:
		return errors.New("an access key that is not known, or has expired")
	case err != nil, at.Format("20060102") != day:
		return errors.New("a date that is none, or another than the scope's")
	case scope != day+"/"+i.Region+"/rds-db/aws4_request":
		return fmt.Errorf("the scope %s", scope)
	case values["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256", values["X-Amz-SignedHeaders"] != "host":
		return errors.New("another algorithm, or other headers")
	case values["Action"] != "connect":
		return errors.New("another action")
	case values["DBUser"] != user:
		return fmt.Errorf("signed for the user %s, and this is %s", values["DBUser"], user)
	case values["X-Amz-Expires"] != "900":
		return errors.New("another lifetime than 900 seconds")
	case now.Sub(at) > tokenAge, at.Sub(now) > clockSkew:
		return errors.New("too old, or from the future")
	case values["X-Amz-Security-Token"] != session:
		return errors.New("another session token than the access key's")
	}
	// "/" is the path of both forms, and "" the payload.
	nothing := sha256.Sum256(nil)
	request := strings.Join([]string{"GET", "/", strings.Join(signed, "&"), "host:" + strings.TrimSuffix(endpoint, "/"), "", "host", hex.EncodeToString(nothing[:])}, "\n")
	hashed := sha256.Sum256([]byte(request))
	key := []byte("AWS4" + secret)
	for _, part := range credential[1:] {
		key = signature(key, part)
	}
	want := hex.EncodeToString(signature(key, strings.Join([]string{"AWS4-HMAC-SHA256", values["X-Amz-Date"], scope, hex.EncodeToString(hashed[:])}, "\n")))
	switch {
	case !hmac.Equal([]byte(want), []byte(values["X-Amz-Signature"])):
		return errors.New("another signature")
	case !i.MayConnect(keyID, user):
		return fmt.Errorf("not allowed rds-db:connect as %s", user)
	}
	return nil
}

func signature(key []byte, text string) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write([]byte(text))
	return hash.Sum(nil)
}
