// Package confighash names the content of an engine's configuration files. The operator writes the
// name into DatabaseInstance.spec.configHash; the agent waits until the files that the kubelet
// mounted have it. Both compute it here, so that they cannot disagree.
package confighash

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
)

// length is the number of hexadecimal digits that are kept.
const length = 16

// ConfigHash is the hash of a set of files, by name. It does not depend on their order.
func ConfigHash(files map[string]string) string {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum.Write([]byte(name + "\x00" + files[name] + "\x00"))
	}
	return hex.EncodeToString(sum.Sum(nil))[:length]
}
