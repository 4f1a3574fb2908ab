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
	"strconv"
	"strings"

	"golang.org/x/text/secure/precis"
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
	// As the server and the clients do it: a password that cannot be prepared is used as it is.
	if prepared, err := precis.OpaqueString.String(password); err == nil {
		password = prepared
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive a key: %w", err)
	}
	stored := sha256.Sum256(sign(salted, "Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s%d:%s$%s:%s", scramPrefix, iterations, encode(salt), encode(stored[:]), encode(sign(salted, "Server Key"))), nil
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
