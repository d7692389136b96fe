package mysql

import (
	"crypto/rand"
	"crypto/sha256"
	"strings"

	"esc-connector-lambda-go/lambda/event"
)

// The hashes that the server stores of a password, computed here so that none is in a statement. MariaDB gets that of
// mysql_native_password, as in a rotation; MySQL gets that of the plugin which it gives a new account by default, or which it has in
// any case.

// nobodys is a password that nobody knows.
func nobodys() event.Secret { return event.NewSecret(rand.Text()) }

// credential is the part of CREATE USER by which a user gets its password. ok is false where the plugin takes none so long.
func (p *preparation) credential(u *user) (part string, ok bool) {
	password := u.password
	switch {
	case u.manages && p.server.IAM:
		// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.DBAccounts.html
		return "IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS'", true
	case p.found.mariaDB:
		return "IDENTIFIED BY PASSWORD '" + nativeHash(password) + "'", true
	case p.plugin == nativePassword:
		return "IDENTIFIED WITH " + p.plugin + " AS '" + nativeHash(password) + "'", true
	case len(password.Reveal()) > longestOfSHA2:
		return "", false
	}
	return "IDENTIFIED WITH " + p.plugin + " AS '" + sha2Hash(p.plugin, password, rand.Text()[:sha2Salt]) + "'", true
}

// longestOfSHA2 is the length in bytes of the longest password that caching_sha2_password and sha256_password take
// (MAX_PLAINTEXT_LENGTH in MySQL's include/crypt_genhash_impl.h).
const longestOfSHA2 = 256

// defaultPlugin is the plugin that MySQL gives a new account, of those whose hashes are computed here. The server reads the
// same two variables: the first factor of authentication_policy (8.0.27 and later) names one, or is * for the one of
// default_authentication_plugin (up to 8.3), or *:name.
// https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_authentication_policy
func defaultPlugin(policy, byDefault string) string {
	first, _, _ := strings.Cut(policy, ",")
	first = strings.TrimPrefix(strings.TrimSpace(first), "*:")
	if first == "*" || first == "" {
		first = byDefault
	}
	if first == nativePassword || first == sha256Password {
		return first
	}
	return cachingSHA2Password
}

// sha2Salt is the length in characters of the salts of both plugins (CRYPT_SALT_LENGTH in include/crypt_genhash_impl.h).
const sha2Salt = 20

// sha2Hash is what caching_sha2_password and sha256_password store of a password: a mark, for the former with the number of
// thousands of rounds, the salt, and the text of SHA-crypt with 5,000 rounds, which both have by default
// (sql/auth/sha2_password.cc, Caching_sha2_password::serialize; sql/auth/sql_authentication.cc, sha256_password).
func sha2Hash(plugin string, password event.Secret, salt string) string {
	text := shaCrypt(password.Reveal(), salt)
	if plugin == sha256Password {
		return "$5$" + salt + "$" + text
	}
	return "$A$005$" + salt + text
}

// shaCrypt is the encoded digest of SHA-crypt with SHA-256 and 5,000 rounds, for a salt of any length up to 32 bytes:
// https://www.akkadia.org/drepper/SHA-crypt.txt. The names are those of its steps.
func shaCrypt(password, salt string) string {
	b := sha256.Sum256([]byte(password + salt + password))
	a := []byte(password + salt)
	a = append(a, stretched(b[:], len(password))...)
	for bits := len(password); bits > 0; bits >>= 1 {
		if bits&1 == 1 {
			a = append(a, b[:]...)
		} else {
			a = append(a, password...)
		}
	}
	c := sha256.Sum256(a)
	dp := sha256.Sum256([]byte(strings.Repeat(password, len(password))))
	ds := sha256.Sum256([]byte(strings.Repeat(salt, 16+int(c[0]))))
	p, s := stretched(dp[:], len(password)), stretched(ds[:], len(salt))
	const rounds = 5000
	for round := range rounds {
		var text []byte
		first, last := c[:], p
		if round%2 == 1 {
			first, last = p, c[:]
		}
		text = append(text, first...)
		if round%3 != 0 {
			text = append(text, s...)
		}
		if round%7 != 0 {
			text = append(text, p...)
		}
		c = sha256.Sum256(append(text, last...))
	}
	return encoded(c)
}

// stretched repeats a digest up to a length.
func stretched(digest []byte, length int) []byte {
	return []byte(strings.Repeat(string(digest), length/len(digest)+1))[:length]
}

// encoded is a digest as SHA-crypt writes it: three bytes from three thirds of the digest, which change places from group to
// group, as four characters, the lowest six bits first; the last group is two bytes.
func encoded(digest [sha256.Size]byte) string {
	const characters, third = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 10
	var text strings.Builder
	write := func(bits uint32, count int) {
		for range count {
			text.WriteByte(characters[bits&63])
			bits >>= 6
		}
	}
	high, middle, low := 0, third, 2*third
	for range third {
		write(uint32(digest[high])<<16|uint32(digest[middle])<<8|uint32(digest[low]), 4)
		high, middle, low = low+1, high+1, middle+1
	}
	write(uint32(digest[31])<<8|uint32(digest[30]), 3)
	return text.String()
}
