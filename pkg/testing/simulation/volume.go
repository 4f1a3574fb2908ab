package simulation

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Volume is what is on a volume. It outlives pods and Databases; it ends with its claim, which is
// known by its UID, and is remembered even then.
type Volume struct {
	// Namespace and Claim name the claim; a pod without one has its name here, after "pod/".
	Namespace, Claim string
	// UID is that of the claim, or of the pod.
	UID types.UID
	// SystemID identifies the data; empty while there is none.
	SystemID string
	// Bootstraps is how often a new database was made on this volume. More than once is a loss of data.
	Bootstraps int
}

// volume is a Volume with what only agents know.
type volume struct {
	Volume
	dataID    string
	passwords map[string]string
	// operation is the one that an agent last carried out here.
	operation     *dbv1.InstanceOperationStatus
	operationKind string
}

// Volumes are all volumes that pods ever had, by namespace and claim.
func (s *Simulation) Volumes() []Volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Volume, 0, len(s.volumes))
	for _, v := range s.volumes {
		all = append(all, v.Volume)
	}
	slices.SortFunc(all, func(a, b Volume) int {
		return strings.Compare(a.Namespace+"/"+a.Claim+"/"+string(a.UID), b.Namespace+"/"+b.Claim+"/"+string(b.UID))
	})
	return all
}

// Bootstraps is how often a new database was made on the volumes that ever had this claim's name:
// deleting a claim, too, must not make a Database begin anew unasked.
func (s *Simulation) Bootstraps(namespace, claim string) int {
	n := 0
	for _, v := range s.Volumes() {
		if v.Namespace == namespace && v.Claim == claim {
			n += v.Bootstraps
		}
	}
	return n
}

// SetData puts a database with this identity on the volume of a claim, as if it had been there
// before; an empty one removes it.
func (s *Simulation) SetData(claim *corev1.PersistentVolumeClaim, systemID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.volumeLocked(Volume{Namespace: claim.Namespace, Claim: claim.Name, UID: claim.UID})
	v.SystemID, v.dataID, v.passwords = systemID, randomHex(), map[string]string{}
}

// Login says whether the database on a claim's volume lets a user in with a password.
func (s *Simulation) Login(claim types.UID, username, password string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.volumes[claim]
	if v == nil || v.SystemID == "" || password == "" {
		return false
	}
	return v.passwords[username] == password
}

// volumeOf is the volume of a pod; nil while its claim is not bound.
func (s *Simulation) volumeOf(pod *corev1.Pod) *volume {
	about := Volume{Namespace: pod.Namespace, Claim: "pod/" + pod.Name, UID: pod.UID}
	for i := range pod.Spec.Volumes {
		source := pod.Spec.Volumes[i].PersistentVolumeClaim
		if source == nil {
			continue
		}
		claim := find[corev1.PersistentVolumeClaim](s.claims, cache.NewObjectName(pod.Namespace, source.ClaimName))
		if claim == nil || claim.Status.Phase != corev1.ClaimBound {
			return nil
		}
		about.Claim, about.UID = claim.Name, claim.UID
		break
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.volumeLocked(about)
}

func (s *Simulation) volumeLocked(about Volume) *volume {
	v := s.volumes[about.UID]
	if v == nil {
		v = &volume{Volume: about, passwords: map[string]string{}}
		s.volumes[about.UID] = v
	}
	return v
}

// bootstrap makes a new database, and counts.
func (v *volume) bootstrap() {
	v.SystemID, v.dataID = randomSystemID(), randomHex()
	v.Bootstraps++
	v.passwords = map[string]string{}
}

// randomSystemID looks like PostgreSQL's: 64 bits, in decimal, never 0.
func randomSystemID() string {
	limit := new(big.Int).Lsh(big.NewInt(1), 62)
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		panic(fmt.Sprintf("no random numbers: %v", err)) // crypto/rand never fails
	}
	return n.Add(n, limit).String()
}

func randomHex() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
