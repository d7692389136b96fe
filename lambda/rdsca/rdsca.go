// Package rdsca holds the certificates of Amazon RDS's own certificate authorities in the commercial regions, but for the
// youngest ones: each region has its own.
// RDS and Aurora servers' certificates chain to these private roots and to no public one (the RDS user guide's page
// "Using SSL/TLS to encrypt a connection to a DB instance or cluster").
package rdsca

import (
	"bytes"
	"compress/flate"
	"crypto/x509"
	_ "embed"
	"encoding/asn1"
	"fmt"
	"io"
	"sync"
)

//go:generate go run generate.go

// bundle is made by generate.go: DER certificates one after the other, compressed.
//
//go:embed bundle.flate
var bundle []byte

// unpacked is the bundle's content, unpacked at the first use: a rotation verifies two handshakes, and each asks for
// several names.
var unpacked = sync.OnceValues(func() ([]byte, error) {
	content, err := io.ReadAll(flate.NewReader(bytes.NewReader(bundle)))
	if err != nil {
		return nil, fmt.Errorf("unpacking the RDS certificates: %w", err)
	}
	return content, nil
})

// Each calls visit with the DER form of each certificate.
func Each(visit func(der []byte) error) error {
	rest, err := unpacked()
	if err != nil {
		return err
	}
	for len(rest) > 0 {
		var certificate asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &certificate); err != nil {
			return fmt.Errorf("reading the RDS certificates: %w", err)
		}
		if err := visit(certificate.FullBytes); err != nil {
			return err
		}
	}
	return nil
}

// Named parses the certificates whose subject is the given name in DER form, and no others: parsing them all would
// cost more than the rest of a rotation.
func Named(subject []byte) ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	err := Each(func(der []byte) error {
		if !bytes.Contains(der, subject) {
			return nil
		}
		certificate, err := x509.ParseCertificate(der)
		if err == nil && bytes.Equal(certificate.RawSubject, subject) {
			found = append(found, certificate)
		}
		return err
	})
	return found, err
}
