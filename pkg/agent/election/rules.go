package election

// A rule is one sentence of the protocol. The code asks holds(rule) where the rule is enforced; they
// all hold, but in the mutation tests, which remove one at a time to see that the model then finds
// the schedule that the rule closes.
type rule uint8

const (
	// Before it answers a position request at a version, an instance takes its source away.
	ruleFence rule = iota
	// While a record is unsettled, the candidates of the old and the new one bind.
	ruleUnion
	// While a record is unsettled, the engine's setting satisfies both.
	ruleUnionSetting
	// A record is kept before it is sent.
	ruleKeepSent
	// While a change of durations is unsettled, the shorter ones count.
	ruleShorter
	// An instance claims only after it saw silence or a release itself.
	ruleSilence
	// A later version begins the silence anew.
	ruleTimed
	// A peer answers with a position only after it saw silence or a release itself.
	rulePeerSilence
	// Claims and positions need an answer of the API within the last two seconds.
	ruleFresh
	// Under a promise an instance does not claim.
	ruleNoClaimUnderPromise
	// Under a promise an instance does not answer with a position.
	ruleNoAnswerUnderPromise
	// A claim whose outcome is unknown refuses promises and positions.
	ruleUnknownClaim
	// A fenced peer promises nothing at that version.
	ruleFencedPromise
	// A peer that knows something newer promises nothing.
	ruleNewerPromise
	// And it says so in every answer.
	ruleTell
	// Only the promises of all candidates count as a renewal.
	rulePromiseOfAll
	// A holder that starts asks candidates for a higher epoch.
	ruleAskOnStart
	// A holder that starts runs only after a renewal that it sent since.
	ruleRenewOnStart
	// A synchronous database needs so many answers that one of them has every acknowledged commit.
	ruleQuorum
	// With synchronous replicas only a position that equals the best claims.
	ruleBest
	// Positions are ranked along the record's chain.
	ruleChain
	// A position is known when replay stands still.
	ruleSettled
	// A claim is made on the newest record among the answers.
	ruleNewestRecord
	// A name is recorded before the engine waits for it, and w is lowered in the record first.
	ruleGrow
	// A name leaves the engine's setting, everywhere, before it leaves the record.
	ruleShrinkApplied
	// What was acknowledged with a name that leaves is on enough of the others before the record says so.
	ruleShrinkFlushed
	// There are never fewer than w other names.
	ruleNeverBelow
	// Only recorded candidates claim.
	ruleCandidates
	// A release implies that the engine is down.
	ruleDownFirst
	// After a release with handover, only the one that it names may claim at once.
	ruleHandoverAlone
	// A successor is named only when it has the shutdown position.
	ruleConfirm
	// A release that is unsettled is not taken back.
	ruleUnsettledRelease
	// A Lease that is missing or was rolled back is not released.
	ruleMissing
	// A Lease that is missing is timed anew when it was not looked at for a while.
	ruleMissingAnew
	// A holder ignores another one with a lower epoch.
	ruleLower
	// An epoch that was once asked for is not asked for again.
	ruleAsked
	// Nor is one that a peer asked for.
	ruleToldAsked
	// A holder whose volume or engine hangs does not renew.
	ruleStall
	// A crashed engine is restarted in place once in five minutes.
	ruleRestartOnce
	// An engine that does not come back is given up.
	ruleRestartBound
	// Only the same pod takes its Lease up again: a pod is told by its UID (which is the caller's to add).
	ruleIdentity
	// Without a renewal for renewDeadline the engine is killed.
	ruleDeadline
	// A renewal counts from its sending.
	ruleFromSend
	// Clients are let in when enough replicas have all that the primary has.
	ruleAdmit
	// Data is checked against the source's chain before it follows.
	ruleRejoin
	// A replica that does not know its source's last epoch is not waited for.
	ruleSourceEpoch
	// Data that was lost has no name any more.
	ruleLostName
	// Data of another system is not touched.
	ruleForeign
	rules
)

// ruleSet is a set of rules.
type ruleSet uint64

func setOf(rules ...rule) ruleSet {
	var s ruleSet
	for _, r := range rules {
		s |= 1 << r
	}
	return s
}

// holds says whether a rule is enforced: always, but in a mutation test.
func (m *Machine) holds(r rule) bool { return m.without&(1<<r) == 0 }
