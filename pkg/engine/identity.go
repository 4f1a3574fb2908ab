package engine

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// The identity of the data closes two ways to lose it: making a new database over an old one, and
// running somebody else's data.
//
//  1. An agent makes a new database only while its instance says bootstrap, and reports the
//     identity of what it made.
//  2. The operator records it in the Database's status; that ends the sync.
//  3. Having read it back, it writes it to the claims and to the accounts, which outlive the Database.
//  4. Having read that back, it tells the agent, which only now lets clients in.
//
// A volume that was there before its Database goes the other way: its facts must agree with the
// spec and with the credentials, or a person must say so; then step 2 records them.
//
// A Database that is deleted before step 2 never let anybody in, for that is step 4. Its deletion says
// so on its claim, and the next Database of the name takes that volume as one made for itself: what
// an agent finds on it, it reports, and makes a new database only if it is empty. Without that word,
// nothing is known: a claim without a system identifier may have lost it.

// claimState is what a claim is to a Database.
type claimState int

const (
	// claimAbsent: there is none; a StatefulSet will make it.
	claimAbsent claimState = iota
	// claimOurs: it was made for this Database.
	claimOurs
	// claimAdoptable: it was made for another Database of this name, and all facts agree.
	claimAdoptable
	// claimUnused: it was made for another Database of this name, which never let anybody in.
	claimUnused
	// claimForeign: it may hold data, and nothing says that it is ours.
	claimForeign
)

// classifyClaim says what the claim of an instance is to the Database, and why it is foreign.
func classifyClaim(o *Observation, recorded string, shape resources.Shape, instance string) (claimState, string) {
	claim := o.Claims[naming.Claim(instance)]
	if claim == nil {
		return claimAbsent, ""
	}
	if claim.Annotations[naming.AnnotationDatabaseUID] == string(o.Database.UID) {
		return claimOurs, ""
	}
	if report := o.report(instance); report != nil && recorded != "" && report.SystemID == recorded {
		// Its own agent sees the recorded data on it: somebody edited the claim.
		return claimOurs, ""
	}
	return classifyByFacts(o, shape, claim)
}

// classifyByFacts judges a volume that was there before its Database.
func classifyByFacts(o *Observation, shape resources.Shape, claim *corev1.PersistentVolumeClaim) (claimState, string) {
	for key, want := range shape.Recorded {
		if have := claim.Annotations[key]; have != "" && have != want {
			return claimForeign, fmt.Sprintf("it says %s %q and the spec %q", strings.TrimPrefix(key, naming.Group+"/"), have, want)
		}
	}
	identity, said := claim.Annotations[naming.AnnotationSystemID], o.Database.Annotations[naming.AnnotationAdopt]
	switch {
	case said != "" && (identity == "" || said == identity):
		return claimAdoptable, ""
	case said != "":
		return claimForeign, fmt.Sprintf("it has system identifier %s, and the annotation %s says %s", identity, naming.AnnotationAdopt, said)
	case identity == "" && isUnused(claim):
		return claimUnused, ""
	case identity == "":
		return claimForeign, "it has no record of what is on it"
	}
	return classifyByAccounts(o, identity)
}

// isUnused: the last Database that the claim was made for never let anybody in.
func isUnused(claim *corev1.PersistentVolumeClaim) bool {
	uid := claim.Annotations[naming.AnnotationDatabaseUID]
	return uid != "" && claim.Annotations[naming.AnnotationUnused] == uid
}

// classifyByAccounts asks that the retained accounts belong to the same data: then passwords and
// data fit together, and nothing is published that does not log in.
func classifyByAccounts(o *Observation, identity string) (claimState, string) {
	accounts := o.Secrets[naming.Accounts(o.Database.Name)]
	if accounts == nil {
		return claimForeign, fmt.Sprintf("its credentials (Secret %s) are gone", naming.Accounts(o.Database.Name))
	}
	if have := accounts.Annotations[naming.AnnotationSystemID]; have != identity {
		return claimForeign, fmt.Sprintf("it has system identifier %s and Secret %s is of %q", identity, accounts.Name, have)
	}
	return claimAdoptable, ""
}

// identity is what is known of the identity of the data.
type identity struct {
	// recorded is what the status already said when this sync began.
	recorded string
	// record is what this sync must write to the status, "" for nothing.
	record string
	// onClaims is true when every existing claim carries the recorded identity and our UID; unmarked
	// are the instances whose claim does not.
	onClaims bool
	unmarked map[string]bool
	// foreign says which claim holds data that is not known to be ours, and what to do.
	foreign string
	// annotate are the writes that bring claims and accounts in line with the status.
	annotate []Action
}

// judgeIdentity compares status, claims, accounts and reports.
func judgeIdentity(o *Observation, eng Engine, shape resources.Shape) identity {
	id := identity{recorded: eng.Identity(o.Database.Status.EngineStatus), onClaims: true, unmarked: map[string]bool{}}
	for _, instance := range shape.InstanceNames() {
		if !id.judgeClaim(o, shape, instance) {
			id.onClaims, id.unmarked[instance] = false, true
		}
		if report := o.report(instance); report != nil && id.recorded == "" && id.record == "" && id.foreign == "" {
			id.record = report.SystemID
		}
	}
	if accounts := o.Secrets[naming.Accounts(o.Database.Name)]; accounts != nil && id.recorded != "" {
		id.mark(Annotate{Resource: Secrets, Name: accounts.Name, UID: accounts.UID, Labels: naming.SelectorLabels(o.Database.Name)}, accounts.Annotations, map[string]string{
			naming.AnnotationSystemID:    id.recorded,
			naming.AnnotationDatabaseUID: string(o.Database.UID),
		})
	}
	return id
}

// judgeClaim is false when the claim of an instance does not carry what it must.
func (id *identity) judgeClaim(o *Observation, shape resources.Shape, instance string) bool {
	name := naming.Claim(instance)
	state, why := classifyClaim(o, id.recorded, shape, instance)
	switch state {
	case claimAbsent:
	case claimForeign:
		id.foreign = adoptionMessage(o.Database, o.Claims[name], why)
	case claimUnused:
		if id.recorded != "" {
			// There is data, and it is not on this volume.
			id.foreign = adoptionMessage(o.Database, o.Claims[name], "it was never used")
			return true
		}
		id.annotate = append(id.annotate, Annotate{
			Resource: Claims, Name: name, UID: o.Claims[name].UID, Labels: naming.SelectorLabels(o.Database.Name),
			Annotations: map[string]string{naming.AnnotationDatabaseUID: string(o.Database.UID)},
		})
		return false
	case claimAdoptable:
		if id.recorded == "" {
			id.record = o.Claims[name].Annotations[naming.AnnotationSystemID]
			if said := o.Database.Annotations[naming.AnnotationAdopt]; said != "" {
				id.record = said
			}
			return false
		}
		return id.markClaim(o, shape, name)
	case claimOurs:
		return id.recorded == "" || id.markClaim(o, shape, name)
	}
	return true
}

// markClaim adds the write that gives a claim its facts, and is true when none of them was missing.
func (id *identity) markClaim(o *Observation, shape resources.Shape, name string) bool {
	claim := o.Claims[name]
	facts := map[string]string{
		naming.AnnotationSystemID:    id.recorded,
		naming.AnnotationDatabaseUID: string(o.Database.UID),
	}
	// What the spec says is a fact of the data once it runs everywhere; before that, only what was
	// never said is.
	rolledOut := o.Database.Status.CurrentVersion == o.Database.Spec.Version
	for key, value := range shape.Recorded {
		if claim.Annotations[key] == "" || rolledOut {
			facts[key] = value
		}
	}
	write := Annotate{Resource: Claims, Name: name, UID: claim.UID, Labels: naming.SelectorLabels(o.Database.Name)}
	if id.mark(write, claim.Annotations, facts) {
		return false
	}
	if claim.Labels[naming.LabelDatabase] != o.Database.Name || claim.Labels[naming.LabelManagedBy] != naming.ManagedBy {
		// The informer finds it by its labels.
		id.annotate = append(id.annotate, write)
	}
	return true
}

// mark adds the write that makes annotations say want, and is true when one is needed.
func (id *identity) mark(write Annotate, have, want map[string]string) bool {
	write.Annotations = map[string]string{}
	for key, value := range want {
		if have[key] != value {
			write.Annotations[key] = value
		}
	}
	if len(write.Annotations) == 0 {
		return false
	}
	id.annotate = append(id.annotate, write)
	return true
}

func adoptionMessage(db *dbv1.Database, claim *corev1.PersistentVolumeClaim, why string) string {
	const how = "If its data is this Database's, annotate the Database with %s=<system identifier>; if it is not needed, delete the claim; or choose another name."
	return fmt.Sprintf("volume %s was there before Database %s, and %s. "+how, claim.Name, db.Name, why, naming.AnnotationAdopt)
}
