package postgres

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"esc-connector-lambda-go/lambda/event"
)

// maxIterations bounds the work that a server can ask for: PostgreSQL's default is 4096, and a function with little
// memory has a small share of a processor.
const maxIterations = 1_000_000

// defaultIterations are PostgreSQL's, and the only ones before version 16.
const defaultIterations = 4096

// errIterations is the error for a server that asks for none or for more than maxIterations. It does not tell how many: a
// server that knows the password could say it so.
var errIterations = errors.New("a number of SCRAM iterations that the connector does not do")

// keys are what SCRAM-SHA-256 derives from a password (RFC 5802, section 3).
type keys struct{ client, stored, server []byte }

// password is one of an event. It keeps the keys that it derived last, since a login right after the change asks for
// those of the verifier: to derive them takes most of the time that a login costs.
type password struct {
	event.Secret
	// token makes what goes to the server in the password's place, where that asks for it in clear and for nothing else. nil for
	// a password, which never does.
	token      func() (event.Secret, error)
	salt       []byte
	iterations int // 0 as long as there are no keys
	derived    keys
}

// keys derives the keys for a salt and a number of iterations.
func (p *password) keys(salt []byte, iterations int) (keys, error) {
	if iterations < 1 || iterations > maxIterations {
		return keys{}, errIterations
	}
	if p.iterations == iterations && bytes.Equal(p.salt, salt) {
		return p.derived, nil
	}
	salted, err := pbkdf2.Key(sha256.New, saslprep(p.Reveal()), salt, iterations, sha256.Size)
	if err != nil {
		return keys{}, err
	}
	client := mac(salted, "Client Key")
	stored := sha256.Sum256(client)
	p.salt, p.iterations, p.derived = salt, iterations, keys{client, stored[:], mac(salted, "Server Key")}
	return p.derived, nil
}

func mac(key []byte, text string) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write([]byte(text))
	return hash.Sum(nil)
}

// expect derives keys for a new salt and so many iterations, which verifier then takes.
func (p *password) expect(iterations int) {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails, says crypto/rand
	_, _ = p.keys(salt, iterations)
}

// verifier is what PostgreSQL stores for the password, with a salt of its own:
// SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey (the manual's page on pg_authid).
func (p *password) verifier(iterations int) (string, error) {
	if p.iterations != iterations {
		p.expect(iterations)
	}
	derived, err := p.keys(p.salt, iterations)
	if err != nil {
		return "", err
	}
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(p.salt), encode(derived.stored), encode(derived.server)), nil
}

// md5Hash is what PostgreSQL stores for a password under password_encryption = md5.
func md5Hash(username, password string) string {
	return "md5" + hexMD5(password+username)
}

func hexMD5(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// exchange is one SCRAM login (RFC 5802, section 3; the client name is empty since PostgreSQL has it already).
type exchange struct {
	password  *password
	binding   []byte // GS2 header and, with channel binding, the hash of the server's certificate
	first     string // client-first-message-bare
	signature []byte // what the server must answer in the end
}

// newExchange starts a login on a connection with the given TLS state, nil for plain text. The mechanism is the one to
// choose among those that the server offers.
func newExchange(secret *password, mechanisms []string, state *tls.ConnectionState) (login *exchange, mechanism string, err error) {
	const scram, plus = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"
	offered := map[string]bool{}
	for _, name := range mechanisms {
		offered[name] = true
	}
	nonce := make([]byte, 18)
	rand.Read(nonce) // never fails, says crypto/rand
	login = &exchange{password: secret, first: "n=,r=" + base64.StdEncoding.EncodeToString(nonce)}
	certificate := endPointHash(state)
	switch {
	case offered[plus] && certificate != nil:
		login.binding = append([]byte("p=tls-server-end-point,,"), certificate...)
		return login, plus, nil
	case offered[scram] && certificate != nil:
		login.binding = []byte("y,,")
		return login, scram, nil
	case offered[scram]:
		login.binding = []byte("n,,")
		return login, scram, nil
	default:
		return nil, "", errMethod("a SASL mechanism other than SCRAM-SHA-256")
	}
}

// endPointHash is the channel binding tls-server-end-point (RFC 5929, section 4.1), nil where it is not defined.
func endPointHash(state *tls.ConnectionState) []byte {
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	certificate := state.PeerCertificates[0]
	switch certificate.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		sum := sha256.Sum256(certificate.Raw)
		return sum[:]
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		sum := sha512.Sum384(certificate.Raw)
		return sum[:]
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		sum := sha512.Sum512(certificate.Raw)
		return sum[:]
	default:
		return nil
	}
}

// clientFirst is the first message of the login.
func (e *exchange) clientFirst() []byte {
	header, _, _ := strings.Cut(string(e.binding), ",,")
	return []byte(header + ",," + e.first)
}

var errSCRAM = errors.New("the server does not speak SCRAM as RFC 5802 has it")

// clientFinal answers the server's first message.
func (e *exchange) clientFinal(serverFirst string) ([]byte, error) {
	parts := strings.SplitN(serverFirst, ",", 4)
	if len(parts) < 3 || !strings.HasPrefix(parts[0], "r=") || !strings.HasPrefix(parts[1], "s=") || !strings.HasPrefix(parts[2], "i=") {
		return nil, errSCRAM
	}
	ours := strings.TrimPrefix(e.first, "n=,")
	if !strings.HasPrefix(parts[0], ours) || len(parts[0]) == len(ours) {
		return nil, errSCRAM
	}
	salt, err := base64.StdEncoding.DecodeString(parts[1][2:])
	if err != nil {
		return nil, errSCRAM
	}
	iterations, err := strconv.Atoi(parts[2][2:])
	if err != nil {
		return nil, errSCRAM
	}
	derived, err := e.password.keys(salt, iterations)
	if err != nil {
		return nil, err
	}
	withoutProof := "c=" + base64.StdEncoding.EncodeToString(e.binding) + "," + parts[0]
	message := e.first + "," + serverFirst + "," + withoutProof
	e.signature = mac(derived.server, message)
	proof := mac(derived.stored, message)
	subtle.XORBytes(proof, proof, derived.client)
	return []byte(withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// verify checks the server's last message, which proves that the server knows the password, too.
func (e *exchange) verify(serverFinal string) error {
	signature, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(serverFinal, "v="))
	if err != nil || e.signature == nil || !hmac.Equal(signature, e.signature) {
		return errSCRAM
	}
	return nil
}
