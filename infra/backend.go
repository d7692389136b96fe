package infra

import (
	"errors"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"esc-connector-lambda-go/environments"
)

// Backend is an instance of Pulumi Cloud.
type Backend struct {
	// URL is its API, in lower case where case does not count, and without a slash at the end.
	URL string
	url url.URL
}

// ParseBackend reads the URL of an instance of Pulumi Cloud.
func ParseBackend(value string) (Backend, error) {
	u, err := url.Parse(value)
	switch {
	case err != nil:
		return Backend{}, errors.New("that is not a URL")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())): // the access token goes there
		return Backend{}, errors.New("it does not begin with https://")
	case strings.EqualFold(u.Hostname(), "app.pulumi.com"):
		return Backend{}, errors.New("that is the console's address, and not the API's")
	case u.Hostname() == "":
		return Backend{}, errors.New("it names no host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return Backend{}, errors.New("it has a user, a query or a fragment")
	case strings.Trim(u.Path, "/") != "": // the provider of Pulumi Cloud leaves it out of half of its calls
		return Backend{}, errors.New("it has a path")
	}
	u.Host = strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	u.Path, u.RawPath = "", ""
	return Backend{URL: u.String(), url: *u}, nil
}

// isLoopback reports whether a host is this machine, such as one on which Pulumi Cloud is tried out.
func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// Issuer is the OIDC identity provider of this instance as IAM knows it: without the scheme, which
// for IAM is always https. Trust policies name their keys by it.
func (b Backend) Issuer() string { return b.url.Host + "/oidc" }

// ConsoleURL is the page of an environment in the console, or empty where the console's address does
// not follow from the API's. The rules are the Pulumi CLI's own.
func (b Backend) ConsoleURL(name environments.Name) string {
	console := b.url
	if domain := os.Getenv("PULUMI_CONSOLE_DOMAIN"); domain != "" {
		console.Host = domain
	} else if domain, ok := strings.CutPrefix(console.Host, "api."); ok {
		console.Host = "app." + domain
	} else {
		return ""
	}
	return console.JoinPath(name.Organization, "esc", name.Project, name.Environment).String()
}
