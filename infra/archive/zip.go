package archive

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"
)

// caFileName is the user's CA file in the archive, whatever it is called in the project.
const caFileName = "database-ca.pem"

// zipped returns a zip that holds the file as bootstrap, and the CA file if there is one, with nothing in
// it of the machine or the hour.
func zipped(file string, ca []byte) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	writer := zip.NewWriter(&out)
	writer.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	add := func(name string, mode fs.FileMode, content []byte) error {
		header := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		header.SetMode(mode)
		entry, err := writer.CreateHeader(header)
		if err != nil {
			return err
		}
		_, err = entry.Write(content)
		return err
	}
	if err := add("bootstrap", 0o755, content); err != nil {
		return nil, err
	}
	if ca != nil {
		if err := add(caFileName, 0o644, ca); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// checkZip refuses a zip that is not what zipped makes: Lambda would refuse it, and the function might be lost by that.
func (b *build) checkZip(content []byte) error {
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return err
	}
	var files []string
	for _, file := range archive.File {
		opened, err := file.Open()
		if err != nil {
			return err
		}
		// To the end, where the checksum is compared.
		if _, err := io.Copy(io.Discard, opened); err != nil {
			return fmt.Errorf("%s: %w", file.Name, err)
		}
		files = append(files, file.Name)
	}
	want := []string{"bootstrap"}
	if b.ca != nil {
		want = append(want, caFileName)
	}
	if !slices.Equal(files, want) {
		return fmt.Errorf("it holds %q, and not %q", files, want)
	}
	return nil
}
