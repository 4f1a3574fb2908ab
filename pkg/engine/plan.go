package engine

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Plan is the whole outcome of one decision, as data: one executor carries it out.
type Plan struct {
	// Objects must exist as they are here; they are applied in this order, before the actions.
	Objects []runtime.ApplyConfiguration
	// Actions are carried out in order. After the first error, of the objects too, only those go on that
	// need nothing else.
	Actions []Action
	// Status is what is reported, whether or not the rest succeeds.
	Status dbv1.DatabaseStatus
	// RequeueAfter is when time alone will change the plan; zero when only a watch can.
	RequeueAfter time.Duration
}

// Action is one thing to do. The set is closed.
//
//sumtype:decl
type Action interface {
	fmt.Stringer
	action()
}

type (
	// AddFinalizer makes the deletion of the Database wait for its policy.
	AddFinalizer struct{}

	// RemoveFinalizer lets the Database go.
	RemoveFinalizer struct{}

	// CreateAccounts makes the master copy of the passwords. It creates and never overwrites. A
	// credentials Secret that a user made beforehand gives the login, else Username and a new
	// password do. Database is empty for the account's name.
	CreateAccounts struct {
		Username string
		Database string
	}

	// AddReplicationPassword adds the password of replicas to the master copy. One that is there
	// stays.
	AddReplicationPassword struct{}

	// PublishCredentials derives the credentials Secret from the master copy.
	PublishCredentials struct {
		// Source identifies what it is derived from; it is recorded on the Secret.
		Source string
		// Database is the one that the account owns.
		Database string
	}

	// CreateLease makes the empty Lease by which agents elect the primary. It never overwrites.
	CreateLease struct{}

	// CreateAuthority makes the authority that signs the agents' certificates. It creates and never
	// overwrites.
	CreateAuthority struct{}

	// IssueCertificate makes the agents' certificate, for these hosts.
	IssueCertificate struct {
		Hosts []string
		// Source identifies what it is made from; it is recorded on the Secret.
		Source string
	}

	// Annotate sets annotations and labels of an object that must be the one of this UID.
	Annotate struct {
		Resource    string
		Name        string
		UID         types.UID
		Annotations map[string]string
		Labels      map[string]string
	}

	// GrowClaim makes a claim ask for more. It must be the one of this UID, as it was seen. That it is
	// refused holds nothing else up.
	GrowClaim struct {
		Name            string
		UID             types.UID
		ResourceVersion string
		Size            resource.Quantity
		Annotations     map[string]string
	}

	// Delete deletes an object that must be the one of this UID, and of this version if one is given.
	Delete struct {
		Resource        string
		Name            string
		UID             types.UID
		ResourceVersion string
		Reason          string
		// Orphan leaves what the object owns.
		Orphan bool
	}
)

// The resources of actions.
const (
	Budgets      = "poddisruptionbudgets"
	Claims       = "persistentvolumeclaims"
	Instances    = "databaseinstances"
	Leases       = "leases"
	Pods         = "pods"
	Secrets      = "secrets"
	StatefulSets = "statefulsets"
)

func (AddFinalizer) action()           {}
func (RemoveFinalizer) action()        {}
func (CreateAccounts) action()         {}
func (PublishCredentials) action()     {}
func (AddReplicationPassword) action() {}
func (CreateLease) action()            {}
func (CreateAuthority) action()        {}
func (IssueCertificate) action()       {}
func (GrowClaim) action()              {}
func (Annotate) action()               {}
func (Delete) action()                 {}

func (AddFinalizer) String() string           { return "add the finalizer" }
func (RemoveFinalizer) String() string        { return "remove the finalizer" }
func (CreateAccounts) String() string         { return "create the accounts" }
func (PublishCredentials) String() string     { return "publish the credentials" }
func (AddReplicationPassword) String() string { return "add the password of replicas" }
func (CreateLease) String() string            { return "create the Lease of the primary" }
func (CreateAuthority) String() string        { return "create the agents' authority" }
func (IssueCertificate) String() string       { return "issue the agents' certificate" }
func (g GrowClaim) String() string            { return "grow " + Claims + " " + g.Name + " to " + g.Size.String() }
func (a Annotate) String() string             { return "annotate " + a.Resource + " " + a.Name }
func (d Delete) String() string               { return "delete " + d.Resource + " " + d.Name }
