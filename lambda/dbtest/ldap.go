package dbtest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
)

// What of LDAP a simple bind takes (RFC 4511, sections 4.2 and 4.3; the tags are those of its appendix B).
const (
	berSequence, berInteger, berOctets, berEnumerated = 0x30, 0x02, 0x04, 0x0a
	ldapBind, ldapBound, ldapUnbind, ldapSimple       = 0x60, 0x61, 0x42, 0x80
	ldapSuccess, ldapInvalidCredentials               = 0, 49
)

// userPrefix is what PostgreSQL puts before the user's name to make the name that it binds as.
const userPrefix = "user="

// answerLDAP answers the binds of PostgreSQL's method ldap, which stands here for the PAM of RDS: that would cut a token off at
// 512 bytes (PAM_MAX_RESP_SIZE of Linux-PAM), and RDS has made its own longer.
func answerLDAP(connection net.Conn, admit func(user, token string) bool) {
	from := bufio.NewReader(connection)
	for {
		message, err := berNext(from, berSequence)
		if err != nil {
			return
		}
		answer, err := ldapAnswer(message, admit)
		if err != nil {
			return
		}
		if _, err := connection.Write(answer); err != nil {
			return
		}
	}
}

var errLDAP = errors.New("none of LDAP's messages for a simple bind")

// ldapAnswer is the answer to a message; an error ends the connection.
func ldapAnswer(message []byte, admit func(user, token string) bool) ([]byte, error) {
	from := bufio.NewReader(strings.NewReader(string(message)))
	number, err := berNext(from, berInteger)
	if err != nil {
		return nil, err
	}
	bind, err := berNext(from, ldapBind) // an unbind has no answer
	if err != nil {
		return nil, err
	}
	from = bufio.NewReader(strings.NewReader(string(bind)))
	_, versionErr := berNext(from, berInteger)
	name, nameErr := berNext(from, berOctets)
	password, err := berNext(from, ldapSimple)
	user, prefixed := strings.CutPrefix(string(name), userPrefix)
	if err = errors.Join(versionErr, nameErr, err); err != nil || !prefixed {
		return nil, errors.Join(err, errLDAP)
	}
	code := byte(ldapInvalidCredentials)
	if admit(user, string(password)) {
		code = ldapSuccess
	}
	result := berElement(ldapBound, berElement(berEnumerated, []byte{code}), berElement(berOctets), berElement(berOctets))
	return berElement(berSequence, berElement(berInteger, number), result), nil
}

// berNext reads an element of BER with that tag. libldap writes lengths longer than they need to be, which encoding/asn1 refuses.
func berNext(from *bufio.Reader, tag byte) ([]byte, error) {
	read, err := from.ReadByte()
	if err != nil {
		return nil, err
	}
	length, err := from.ReadByte()
	if err != nil || read != tag {
		return nil, errors.Join(err, errLDAP)
	}
	size := int(length)
	if length&0x80 != 0 {
		size = 0
		for range length & 0x7f {
			next, err := from.ReadByte()
			const longest = 64 << 10 // bytes
			if size = size<<8 | int(next); err != nil || size > longest {
				return nil, errors.Join(err, errLDAP)
			}
		}
	}
	content := make([]byte, size)
	_, err = io.ReadFull(from, content)
	return content, err
}

// berElement is a short element.
func berElement(tag byte, parts ...[]byte) []byte {
	var content []byte
	for _, part := range parts {
		content = append(content, part...)
	}
	return append([]byte{tag, byte(len(content))}, content...)
}
