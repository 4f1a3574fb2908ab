package engine

import (
	"fmt"
	"maps"
	"slices"
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
// The newest data may lie with an instance that the new Database does not have: the former one had more,
// and the last of them may have been its primary. So a Database with fewer instances than there are volumes
// takes none over. It is made with as many, which compare what they have, and then scaled in.
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

// objection is why a claim is foreign, and what would make it the Database's; both are empty for one that
// is not.
type objection struct{ why, remedy string }

// classifyClaim says what the claim of an instance is to the Database, and why it is foreign.
func classifyClaim(o *Observation, recorded string, shape resources.Shape, instance string) (claimState, objection) {
	claim := o.Claims[naming.Claim(instance)]
	if claim == nil {
		return claimAbsent, objection{}
	}
	if claim.Annotations[naming.AnnotationDatabaseUID] == string(o.Database.UID) {
		return claimOurs, objection{}
	}
	if report := o.report(instance); report != nil && recorded != "" && report.SystemID == recorded {
		// Its own agent sees the recorded data on it: somebody edited the claim.
		return claimOurs, objection{}
	}
	return classifyByFacts(o, shape, claim)
}

// classifyByFacts judges a volume that was there before its Database.
func classifyByFacts(o *Observation, shape resources.Shape, claim *corev1.PersistentVolumeClaim) (claimState, objection) {
	for _, key := range slices.Sorted(maps.Keys(shape.Recorded)) {
		if have, want := claim.Annotations[key], shape.Recorded[key]; have != "" && have != want {
			return claimForeign, contradiction(key, have, want)
		}
	}
	identity, said := claim.Annotations[naming.AnnotationSystemID], o.Database.Annotations[naming.AnnotationAdopt]
	switch {
	case said != "" && (identity == "" || said == identity):
		return claimAdoptable, objection{}
	case said != "":
		return claimForeign, objection{
			fmt.Sprintf("it has system identifier %s, and the annotation %s says %s", identity, naming.AnnotationAdopt, said), adopt(identity),
		}
	case identity == "" && isUnused(claim):
		return claimUnused, objection{}
	case identity == "":
		return claimForeign, objection{"it has no record of what is on it", adopt("<system identifier>")}
	}
	return classifyByAccounts(o, identity)
}

// contradiction is a fact that the spec says otherwise. No annotation helps: what the spec asks for cannot
// run on that data.
func contradiction(key, have, want string) objection {
	o := objection{why: fmt.Sprintf("it says %s %q and the spec %q", strings.TrimPrefix(key, naming.Group+"/"), have, want)}
	switch key {
	case naming.AnnotationMajorVersion:
		o.remedy = fmt.Sprintf("If its data is this Database's, set spec.version to %s; major upgrades come after that", have)
	case naming.AnnotationEngine:
		o.remedy = "If its data is needed, make a Database of engine " + have + " with this name instead"
	}
	return o
}

func adopt(identity string) string {
	return fmt.Sprintf("If its data is this Database's, annotate the Database with %s=%s", naming.AnnotationAdopt, identity)
}

// isUnused: the last Database that the claim was made for never let anybody in.
func isUnused(claim *corev1.PersistentVolumeClaim) bool {
	uid := claim.Annotations[naming.AnnotationDatabaseUID]
	return uid != "" && claim.Annotations[naming.AnnotationUnused] == uid
}

// classifyByAccounts asks that the retained accounts belong to the same data: then passwords and
// data fit together, and nothing is published that does not log in.
func classifyByAccounts(o *Observation, identity string) (claimState, objection) {
	accounts := o.Secrets[naming.Accounts(o.Database.Name)]
	if accounts == nil {
		return claimForeign, objection{fmt.Sprintf("its credentials (Secret %s) are gone", naming.Accounts(o.Database.Name)), adopt(identity)}
	}
	if have := accounts.Annotations[naming.AnnotationSystemID]; have != identity {
		return claimForeign, objection{fmt.Sprintf("it has system identifier %s and Secret %s is of %q", identity, accounts.Name, have), adopt(identity)}
	}
	return claimAdoptable, objection{}
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
	if id.foreign == "" {
		id.foreign = leftOut(o, shape)
	}
	if id.foreign != "" {
		id.record = ""
	}
	if accounts := o.Secrets[naming.Accounts(o.Database.Name)]; accounts != nil && id.recorded != "" {
		id.mark(Annotate{Resource: Secrets, Name: accounts.Name, UID: accounts.UID, Labels: naming.SelectorLabels(o.Database.Name)}, accounts.Annotations, map[string]string{
			naming.AnnotationSystemID:    id.recorded,
			naming.AnnotationDatabaseUID: string(o.Database.UID),
		})
	}
	return id
}

// leftOut says that an instance which the Database is not to have may have newer data than those that it
// is to have, "" when none may. Once there was a primary, that is decided.
func leftOut(o *Observation, shape resources.Shape) string {
	if o.Database.Status.Primary != nil {
		return ""
	}
	for _, group := range shape.Groups {
		most, where := group.Replicas, ""
		consider := func(instance, what string) {
			if ordinal, ok := ordinalIn(group, instance); ok && ordinal >= most {
				most, where = ordinal+1, what
			}
		}
		for _, name := range slices.Sorted(maps.Keys(o.Claims)) {
			claim := o.Claims[name]
			if instance, ok := strings.CutPrefix(name, naming.Claim("")); ok && !isUnused(claim) && claim.Annotations[naming.AnnotationDatabaseUID] != string(o.Database.UID) {
				consider(instance, "volume "+name)
			}
		}
		for _, c := range readElection(o).record.Candidates {
			consider(c.Instance, fmt.Sprintf("Lease %s, which says that the data of instance %s may be the newest,", o.Lease.Name, c.Instance))
		}
		if where != "" {
			return fmt.Sprintf("%s was there before Database %s, which has fewer instances (%d) than were left (%d), and so may lack the newest data. "+
				"Set spec.topology to mode Replicated with replicas %d; when the Database is Ready, lower it again, which loses nothing. Or, if only what the first %d have is needed, delete what is named here, and what is named then; or choose another name.",
				where, o.Database.Name, group.Replicas, most, most, group.Replicas)
		}
	}
	return ""
}

// judgeClaim is false when the claim of an instance does not carry what it must.
func (id *identity) judgeClaim(o *Observation, shape resources.Shape, instance string) bool {
	name := naming.Claim(instance)
	state, against := classifyClaim(o, id.recorded, shape, instance)
	switch state {
	case claimAbsent:
	case claimForeign:
		id.foreign = adoptionMessage(o.Database, o.Claims[name], against)
	case claimUnused:
		if id.recorded != "" {
			// There is data, and it is not on this volume.
			id.foreign = adoptionMessage(o.Database, o.Claims[name], objection{why: "it was never used, while this Database has data"})
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

func adoptionMessage(db *dbv1.Database, claim *corev1.PersistentVolumeClaim, against objection) string {
	remedies := "If it is not needed, delete the claim; or choose another name."
	if against.remedy != "" {
		remedies = against.remedy + "; if it is not needed, delete the claim; or choose another name."
	}
	return fmt.Sprintf("volume %s was there before Database %s, and %s. %s", claim.Name, db.Name, against.why, remedies)
}
