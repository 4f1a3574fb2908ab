package driver

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/norm"
)

// SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677), in the form of pg_authid.rolpassword:
//
//	SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>
//
// The server is given a verifier, never a password, so that no log of it can have one.

const (
	scramPrefix     = "SCRAM-SHA-256$"
	scramIterations = 4096
	scramSalt       = 16
)

// newVerifier makes a verifier with a fresh salt.
func newVerifier(password string) (string, error) {
	salt := make([]byte, scramSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make a salt: %w", err)
	}
	return verifier(password, salt, scramIterations)
}

func verifier(password string, salt []byte, iterations int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, prepared(password), salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive a key: %w", err)
	}
	stored := sha256.Sum256(sign(salted, "Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s%d:%s$%s:%s", scramPrefix, iterations, encode(salt), encode(stored[:]), encode(sign(salted, "Server Key"))), nil
}

// prohibited may not be in a password that is prepared, RFC 4013, sections 2.3 and 2.5.
var prohibited = []stringprep.Set{
	stringprep.TableA1, stringprep.TableC1_2, stringprep.TableC2_1, stringprep.TableC2_2, stringprep.TableC3, stringprep.TableC4,
	stringprep.TableC5, stringprep.TableC6, stringprep.TableC7, stringprep.TableC8, stringprep.TableC9,
}

// prepared is a password as the server and libpq hash it: prepared by SASLprep, RFC 4013, or as it is when
// that cannot be. Where the RFC leaves a choice, it is theirs (src/common/saslprep.c), so the library's own
// profile is of no use: a space of no width is a space, and what is prohibited is looked for before the
// normalization.
func prepared(password string) string {
	if isASCII(password) || !utf8.ValidString(password) {
		return password
	}
	var mapped []rune
	for _, r := range password {
		if stringprep.TableC1_2.Contains(r) {
			mapped = append(mapped, ' ')
		} else if _, nothing := stringprep.TableB1[r]; !nothing && r != todoSoftHyphen {
			mapped = append(mapped, r)
		}
	}
	if len(mapped) == 0 || slices.ContainsFunc(mapped, isProhibited) || mixesDirections(mapped) {
		return password
	}
	return norm.NFKC.String(string(mapped))
}

// todoSoftHyphen of the Mongolian script is in table B.1 of RFC 3454, and missing in the library's.
const todoSoftHyphen = '\u1806'

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

func isProhibited(r rune) bool {
	return slices.ContainsFunc(prohibited, func(set stringprep.Set) bool { return set.Contains(r) })
}

// mixesDirections is the rule of RFC 3454, section 6: text that runs to the left does so from its first
// character to its last.
func mixesDirections(text []rune) bool {
	left := stringprep.TableD1.Contains
	if !slices.ContainsFunc(text, left) {
		return false
	}
	return !left(text[0]) || !left(text[len(text)-1]) || slices.ContainsFunc(text, stringprep.TableD2.Contains)
}

// provable says whether the agent can log in with a prepared password, to prove that libpq can: pgx
// prepares again, by PRECIS (RFC 8265), which must change nothing.
func provable(password string) bool {
	if strings.ContainsFunc(password, stringprep.TableA1.Contains) {
		return true
	}
	again, err := precis.OpaqueString.String(password)
	return err != nil || again == password
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// verifies says whether a stored verifier is one of the password.
func verifies(stored, password string) bool {
	salt, iterations, err := parseVerifier(stored)
	if err != nil {
		return false
	}
	want, err := verifier(password, salt, iterations)
	return err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(stored)) == 1
}

var errNoVerifier = errors.New("not a SCRAM-SHA-256 verifier")

func parseVerifier(stored string) (salt []byte, iterations int, err error) {
	rest, ok := strings.CutPrefix(stored, scramPrefix)
	head, _, hasKeys := strings.Cut(rest, "$")
	count, encoded, hasSalt := strings.Cut(head, ":")
	if !ok || !hasKeys || !hasSalt {
		return nil, 0, errNoVerifier
	}
	if iterations, err = strconv.Atoi(count); err != nil || iterations < 1 {
		return nil, 0, errNoVerifier
	}
	if salt, err = base64.StdEncoding.DecodeString(encoded); err != nil {
		return nil, 0, errNoVerifier
	}
	return salt, iterations, nil
}
