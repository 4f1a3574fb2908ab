package election

// A rule is one sentence of the protocol. The code asks holds(rule) where the rule is enforced; they
// all hold, but in the mutation tests, which remove one at a time to see that the model then finds
// the schedule that the rule closes.
type rule string

const (
	// Before it answers a position request at a version, an instance takes its source away.
	ruleFence rule = "fence before a position"
	// While a record is unsettled, the candidates of the old and the new one bind.
	ruleUnion rule = "the union while unsettled"
	// While a change of durations is unsettled, the shorter ones count.
	ruleShorter rule = "the shorter duration"
	// An instance claims, and answers with a position, only after it saw silence or a release itself.
	ruleSilence rule = "own silence before a claim"
	// A peer answers with a position only after it saw silence or a release itself.
	rulePeerSilence rule = "peers' own silence"
	// Claims and positions need an answer of the API within the last two seconds.
	ruleFresh rule = "a fresh answer of the API"
	// Under a promise an instance does not claim.
	ruleNoClaimUnderPromise rule = "no claim under a promise"
	// Under a promise an instance does not answer with a position.
	ruleNoAnswerUnderPromise rule = "no answers under a promise"
	// A claim whose outcome is unknown refuses promises and positions.
	ruleUnknownClaim rule = "an unknown claim refuses promises"
	// A fenced peer promises nothing at that version.
	ruleFencedPromise rule = "fenced peers promise nothing"
	// A peer that knows something newer promises nothing.
	ruleNewerPromise rule = "no promise against something newer"
	// Only the promises of all candidates count as a renewal.
	rulePromiseOfAll rule = "promises of all"
	// A holder that starts asks candidates for a higher epoch.
	ruleAskOnStart rule = "asking on start"
	// A holder that starts runs only after a renewal that it sent since.
	ruleRenewOnStart rule = "a renewal on start"
	// A synchronous database needs so many answers that one of them has every acknowledged commit.
	ruleQuorum rule = "enough answers"
	// The holder's own data is enough only where no answer knows a higher epoch.
	ruleHolderAlone rule = "the holder's data alone"
	// With synchronous replicas only a position that equals the best claims.
	ruleBest rule = "only the best position"
	// Positions are ranked along the record's chain.
	ruleChain rule = "positions along the chain"
	// A position is known when replay stands still.
	ruleSettled rule = "a settled position"
	// A name is recorded before the engine waits for it, and w is lowered in the record first.
	ruleGrow rule = "order of growing"
	// A name leaves the engine's setting, everywhere, before it leaves the record.
	ruleShrinkApplied rule = "order of shrinking: applied"
	// What was acknowledged with a name that leaves is on enough of the others before the record says so.
	ruleShrinkFlushed rule = "order of shrinking: flushed"
	// There are never fewer than w other names.
	ruleNeverBelow rule = "never below w"
	// Only recorded candidates claim.
	ruleCandidates rule = "only candidates claim"
	// A release implies that the engine is down.
	ruleDownFirst rule = "down before the release"
	// After a release with handover, only the one that it names may claim at once.
	ruleHandoverAlone rule = "handover alone at first"
	// A successor is named only when it has the shutdown position.
	ruleConfirm rule = "the successor confirms"
	// A release that is unsettled is not taken back.
	ruleUnsettledRelease rule = "an unsettled release stands"
	// A Lease that is missing or was rolled back is not released.
	ruleMissing rule = "missing is not released"
	// A holder ignores another one with a lower epoch.
	ruleLower rule = "a lower holder is ignored"
	// An epoch that was once asked for is not asked for again.
	ruleAsked rule = "epochs once asked for"
	// A holder whose volume or engine hangs does not renew.
	ruleStall rule = "the stall check"
	// A crashed engine is restarted in place once in five minutes.
	ruleRestartOnce rule = "restart once"
	// Only the same pod takes its Lease up again.
	ruleIdentity rule = "the pod UID in the identity"
	// Without a renewal for renewDeadline the engine is killed.
	ruleDeadline rule = "the deadline"
	// A renewal counts from its sending.
	ruleFromSend rule = "a renewal counts from its sending"
	// The synchronous setting is in place before promotion, and clients are let in when enough replicas
	// have all that the primary has.
	ruleAdmit rule = "clients wait for the replicas"
	// Data is checked against the source's chain before it follows.
	ruleRejoin rule = "rejoin by the chain"
	// An emptied volume is a new name.
	ruleNewName rule = "an emptied volume is a new name"
)

// holds says whether a rule is enforced: always, but in a mutation test.
func (m *Machine) holds(r rule) bool { return m.without != r }
