package mysql

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"esc-connector-lambda-go/lambda/connector"
)

// wire is a connection to a server, beneath the driver, which trusts a server: it takes 16 MB for a packet whose header
// says so, memory for as many columns as a number says, and breaks down at what is cut short. So each packet is looked
// at here first, and TLS begins here too, since packets cannot be seen beneath the driver's own.
type wire struct {
	net.Conn // TCP, or TLS over it
	server   *connector.Server
	by       credential
	plain    net.Conn
	from     *bufio.Reader // of Conn
	read     int           // bytes, so far
	unread   []byte        // of the packet that the driver reads
	phase    phase
	greeting greeting
	plugin   string // that the server switched to
	// ahead is by how many packets the handshake is ahead of what the driver knows: its request for TLS.
	ahead byte
	// secure is to begin with TLS, nil where it has begun or the terms do not ask for it.
	secure func(opening []byte) error
	tls    *tls.ConnectionState
	// warnings is their number after the last statement.
	warnings int
	// failed is why reading or writing failed, which the driver does not tell.
	failed error
}

// phase is what the server's next packet can be.
type phase int

const (
	atGreeting phase = iota
	inHandshake
	atAnswer // to a statement
	inRows
)

// greeting is what a server says before any login.
type greeting struct {
	version string
	tls     bool // is offered
}

// Flags of Protocol::HandshakeV10 and Protocol::SSLRequest, here and below from the pages of the MySQL source
// documentation's chapter "Client/Server Protocol".
const clientProtocol41, clientSSL, clientSecureConnection = 0x200, 0x800, 0x8000

var (
	errMalformed = errors.New("the server sent what is none of MySQL's protocol")
	errTooLong   = errors.New("the server sent more than the connector reads")
	// errTokenRefused is the error 1045 for a login whose token the server had asked for.
	errTokenRefused = errors.New("the server refused the token")
)

// dial connects at an address and reads the server's greeting. stage is the one that comes after TLS.
func dial(ctx context.Context, server *connector.Server, address netip.AddrPort, stage connector.Stage, by credential) (w *wire, err error) {
	plain, err := server.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	w = &wire{Conn: plain, server: server, by: by, plain: plain, from: bufio.NewReader(plain)}
	defer func() {
		if err != nil {
			plain.Close()
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = plain.SetDeadline(time.Unix(1, 0)) })
	first, err := w.next()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	switch {
	case errors.Is(err, errMalformed) || errors.Is(err, errTooLong):
		return nil, notMySQL(server)
	case err != nil:
		return nil, server.Broken(err)
	}
	w.unread = first
	if server.TLS == nil {
		server.SetStage(stage)
		return w, nil
	}
	server.SetStage(connector.StageTLS)
	w.secure = func(opening []byte) error {
		if !w.greeting.tls {
			return server.NoTLS()
		}
		if w.from.Buffered() > 0 { // in clear, where the next word is the client's
			return errMalformed
		}
		// Protocol::SSLRequest is how a login begins: capabilities, largest packet, character set, filler.
		request := bytes.Clone(opening[:4+32])
		copy(request, []byte{32, 0, 0, 1})
		request[4+1] |= clientSSL >> 8
		if _, err := plain.Write(request); err != nil {
			return err
		}
		encrypted, err := server.Encrypt(ctx, plain)
		if err != nil {
			return err
		}
		state := encrypted.ConnectionState()
		w.Conn, w.tls, w.ahead, w.secure = encrypted, &state, 1, nil
		w.from.Reset(encrypted)
		server.SetStage(stage)
		return nil
	}
	return w, nil
}

// refusal is the number of the error by which the server turned the connection away instead of a greeting, or 0.
func (w *wire) refusal() uint16 {
	if packet := w.unread[4:]; w.phase == atGreeting && packet[0] == errorPacket {
		return binary.LittleEndian.Uint16(packet[1:])
	}
	return 0
}

// encrypt goes on to TLS by the server's terms, without a login.
func (w *wire) encrypt() error {
	if w.secure == nil {
		return nil
	}
	request := make([]byte, 4+32)
	binary.LittleEndian.PutUint32(request[4:], clientProtocol41|clientSecureConnection)
	binary.LittleEndian.PutUint32(request[8:], 1<<24)
	request[12] = 45 // utf8mb4_general_ci
	return w.secure(request)
}

// Close ends the connection at once: a TLS connection's own way could wait for the server.
func (w *wire) Close() error { return w.plain.Close() }

// Read is the driver's, of one packet at a time.
func (w *wire) Read(buffer []byte) (int, error) {
	if len(w.unread) == 0 {
		packet, err := w.next()
		if err != nil {
			w.failed = err
			return 0, err
		}
		w.unread = packet
	}
	n := copy(buffer, w.unread)
	w.unread = w.unread[n:]
	return n, nil
}

// Write is the driver's, of a whole packet.
func (w *wire) Write(packet []byte) (int, error) {
	sent, err := w.outgoing(packet)
	if err == nil {
		_, err = w.Conn.Write(sent)
	}
	if err != nil {
		w.failed = err
		return 0, err
	}
	return len(packet), nil
}

// outgoing is a packet as the server gets it.
func (w *wire) outgoing(packet []byte) ([]byte, error) {
	if w.phase != inHandshake || packet[3] == 0 { // a command begins anew
		w.phase, w.warnings = atAnswer, 0
		return packet, nil
	}
	if w.secure != nil {
		if err := w.secure(packet); err != nil {
			return nil, err
		}
		packet = bytes.Clone(packet)
		packet[4+1] |= clientSSL >> 8
	}
	if w.tls == nil {
		return packet, nil
	}
	packet = bytes.Clone(packet)
	switch {
	// On a way that the driver did not encrypt it asks for the server's key by a 1, where MySQL takes the password
	// inside TLS (page "Sha-256 authentication").
	case w.plugin == sha256Password && bytes.Equal(packet[4:], []byte{1}):
		packet = append(packet[:4], w.by.password.Reveal()+"\x00"...)
		putLength(packet)
	case w.plugin == clearPassword && w.by.token != nil:
		token, err := w.by.token()
		if err != nil {
			return nil, err
		}
		packet = append(packet[:4], token.Reveal()+"\x00"...)
		putLength(packet)
	}
	packet[3] += w.ahead
	return packet, nil
}

func putLength(packet []byte) {
	length := len(packet) - 4
	packet[0], packet[1], packet[2] = byte(length), byte(length>>8), byte(length>>16)
}

// next is the server's next packet, with its header as the driver expects it.
func (w *wire) next() ([]byte, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(w.from, header); err != nil {
		return nil, err
	}
	length := int(header[0]) | int(header[1])<<8 | int(header[2])<<16
	const longest, most = 64 << 10, 1 << 20 // bytes, of a packet such as a grant and of all
	if w.read += 4 + length; length > longest || w.read > most {
		return nil, errTooLong
	}
	packet := make([]byte, 4+length)
	copy(packet, header)
	if _, err := io.ReadFull(w.from, packet[4:]); err != nil {
		return nil, err
	}
	if w.phase == inHandshake {
		packet[3] -= w.ahead
	}
	return w.incoming(packet)
}

// The first bytes of packets.
const (
	okPacket, moreData, localFile, switchPlugin, errorPacket = 0x00, 0x01, 0xfb, 0xfe, 0xff
)

// incoming looks at a packet of the server's.
func (w *wire) incoming(packet []byte) ([]byte, error) {
	payload := packet[4:]
	if len(payload) == 0 {
		return nil, errMalformed
	}
	if w.phase == inHandshake && w.by.token != nil && payload[0] != errorPacket {
		if err := w.onlyToken(payload); err != nil {
			return nil, err
		}
	}
	good := true
	switch first := payload[0]; {
	case w.phase == inRows:
	case first == errorPacket:
		good = len(payload) > 3 && (payload[3] != '#' || len(payload) >= 3+1+5)
	case w.phase == atGreeting:
		return w.greet(packet)
	case first == okPacket:
		if w.warnings, good = warnings(payload); good {
			w.phase = atAnswer
		}
	case w.phase == inHandshake && first == moreData:
		good = len(payload) == 2 || isPublicKey(payload[1:])
	case w.phase == inHandshake && first == switchPlugin:
		name, data, _ := bytes.Cut(payload[1:], []byte{0})
		w.plugin = string(name)
		const challenge = 20 // bytes
		good = w.plugin != nativePassword || len(data) >= challenge
	case w.phase == atAnswer && first != localFile:
		columns, rest := integer(payload)
		const most = 16
		good = columns <= most && rest != nil
		w.phase = inRows
	default:
		good = false
	}
	if !good {
		return nil, errMalformed
	}
	return packet, nil
}

// errMethod is the error for a server that wants something else than a token.
type errMethod string

func (e errMethod) Error() string { return "the server asks for " + string(e) }

// onlyToken refuses, before the driver sees and answers it, what a server asks for in a login by a token, but the token, once. The
// plugins whose names are told are those that come with MySQL and MariaDB.
func (w *wire) onlyToken(payload []byte) error {
	const known = " mysql_native_password sha256_password caching_sha2_password mysql_old_password client_ed25519 dialog parsec "
	plugin, _, _ := bytes.Cut(payload[1:], []byte{0})
	name := string(plugin)
	switch first := payload[0]; {
	case first == switchPlugin && w.plugin == "" && name == clearPassword, first == okPacket && w.plugin == clearPassword:
		return nil
	case first == okPacket:
		return errMethod("nothing, and lets anybody in")
	case first == switchPlugin && name != "" && strings.Contains(known, " "+name+" "):
		return errMethod("a password (" + name + ")")
	}
	return errMethod("something else")
}

// greet reads Protocol::HandshakeV10.
func (w *wire) greet(packet []byte) ([]byte, error) {
	payload := packet[4:]
	version, rest, _ := bytes.Cut(payload, []byte{0})
	// The thread's number and 8 bytes of the challenge with a filler come before the flags. Behind the flags: the
	// character set, the status, more flags, the challenge's length, a filler, and the rest of the challenge.
	const flags, least = 4 + 8 + 1, 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10 + 13
	if len(version) == 0 || version[0] != 10 || len(rest) < least {
		return nil, errMalformed
	}
	w.phase = inHandshake
	w.greeting.version = strings.TrimPrefix(string(version[1:]), "5.5.5-") // MariaDB's prefix for old replicas
	w.greeting.tls = binary.LittleEndian.Uint16(rest[flags:])&clientSSL != 0
	// The driver would answer this plugin at once, and by a request for the server's key.
	instead := ""
	if strings.HasPrefix(string(rest[least:]), sha256Password) {
		instead = cachingSHA2Password
	}
	if w.by.token != nil { // for which the driver has nothing to answer, and the server has to ask for the token
		instead = nativePassword
	}
	if instead != "" {
		packet = append(bytes.Clone(packet[:len(packet)-len(rest)+least]), instead+"\x00"...)
		putLength(packet)
	}
	return packet, nil
}

const nativePassword, sha256Password, cachingSHA2Password, clearPassword = "mysql_native_password", "sha256_password", "caching_sha2_password", "mysql_clear_password"

// warnings reads Protocol::OK_Packet.
func warnings(payload []byte) (count int, ok bool) {
	_, rest := integer(payload[1:]) // affected rows
	_, rest = integer(rest)         // last insert id
	const status, count16 = 2, 2    // bytes
	if len(rest) < status+count16 {
		return 0, false
	}
	return int(binary.LittleEndian.Uint16(rest[status:])), true
}

// integer reads Protocol::LengthEncodedInteger. rest is nil where there is none.
func integer(text []byte) (value uint64, rest []byte) {
	if len(text) == 0 {
		return 0, nil
	}
	width := map[byte]int{0xfc: 2, 0xfd: 3, 0xfe: 8}[text[0]]
	switch {
	case text[0] < 0xfb:
		return uint64(text[0]), text[1:]
	case width == 0 || len(text) < 1+width:
		return 0, nil
	}
	for i := width; i > 0; i-- {
		value = value<<8 | uint64(text[i])
	}
	return value, text[1+width:]
}

// isPublicKey reports whether a text is the server's RSA key, of a size that is no work.
func isPublicKey(text []byte) bool {
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, ok := parsed.(*rsa.PublicKey)
	const largest = 8192 // bits
	return err == nil && ok && key.N.BitLen() <= largest
}

// cause is the error of a driver's call, or what it left out: why the connection failed, or that it could not read what
// came over one that did not.
func (w *wire) cause(err error) error {
	switch {
	case err == nil:
		return nil
	case w.by.token != nil && w.phase == inHandshake && number(err) == loginDenied && w.plugin == clearPassword:
		return errTokenRefused
	case w.by.token != nil && w.phase == inHandshake && number(err) == loginDenied:
		return errMethod("a password")
	case number(err) != 0, connector.TimedOut(err):
		return err
	case w.failed != nil:
		return w.failed
	case w.phase != inHandshake && !errors.Is(err, driver.ErrBadConn) && !errors.Is(err, mysql.ErrInvalidConn):
		return errMalformed
	}
	return err
}

// recovered makes an error of a breakdown of the driver's over what the server sent.
func (w *wire) recovered(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("%w: the driver broke down", errMalformed)
	}
}
