package archive

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// begin is the first line of a certificate, also behind the last one of another; not in a comment.
var begin = regexp.MustCompile(`(?m)^[^#\r\n]*-----BEGIN CERTIFICATE-----`)

// Certificates reads a PEM file, and returns its certificates alone, encoded anew: without the comments
// between them, and with the same line ends on every machine.
func Certificates(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no such file in the project's folder")
	}
	if err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff")) // which editors on Windows put there
	var out bytes.Buffer
	found := 0
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case strings.Contains(block.Type, "PRIVATE KEY"):
			return nil, errors.New("it holds a private key, which nothing here needs and which must not get into the function")
		case block.Type == "CERTIFICATE":
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return nil, fmt.Errorf("a certificate in it cannot be read: %w", err)
			}
			if err := pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes}); err != nil {
				return nil, err
			}
			found++
		}
	}
	begun := len(begin.FindAll(content, -1))
	switch {
	case begun != found:
		return nil, fmt.Errorf("of %d certificates in it %d can be read: each must begin on a line of its own, and be whole", begun, found)
	case found == 0:
		return nil, errors.New("it holds no certificate in PEM")
	}
	return out.Bytes(), nil
}
