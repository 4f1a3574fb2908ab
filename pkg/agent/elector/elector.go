package elector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/platform-io/database-operator/pkg/agent/election"
	"github.com/platform-io/database-operator/pkg/record"
)

// tickPeriod is the pause between two looks at the clock.
const tickPeriod = 100 * time.Millisecond

// Options are what an elector is told.
type Options struct {
	// Instance is the name of the instance, Identity that of its pod.
	Instance string
	Identity record.Identity

	// Namespace and LeaseName say which Lease it is; API how to reach the cluster.
	Namespace, LeaseName string
	API                  *rest.Config
	Peers                PeerOptions

	Memory  Memory
	Clock   Clock
	Metrics *Metrics
	// NewName makes a data id.
	NewName func() string

	// Want is told what the engine must be, the newest in the end, by one goroutine. What it asks for
	// was kept before, so it may be done at once.
	Want func(election.Want)
	// SetDeadline tells the watchdog. It does not block.
	SetDeadline func(Deadline)
}

// Elector drives the machine of one instance.
type Elector struct {
	Options
	lease leaseAPI
	peers peerAPI

	executor *executor
	wants    *wants
	inputs   chan input
	done     chan struct{}
	replies  sync.Map // of chan election.Answer, by token
	tokens   atomic.Int64
	reading  atomic.Bool
	limit    atomic.Int64
	fence    atomic.Int64
	deadline atomic.Pointer[Deadline]
	status   atomic.Pointer[Status]

	// What follows belongs to the loop.
	machine  *election.Machine
	line     timeline
	versions versions
	known    Status
	// like has what a Lease must carry that is made anew.
	like  metav1.ObjectMeta
	round int64
}

// input is something for the loop to do.
type input func(ctx context.Context)

// Status is what the loop knows.
type Status struct {
	// Seen: the API has shown the Lease, or that there is none. Lease is what stood on it.
	Seen  bool
	Lease election.Record
	// Disk is what the machine wants kept.
	Disk     election.Disk
	Handover election.HandoverOutcome
	// Crashed is Facts.Crashed as it was last seen, and Seq the Want that is the newest since.
	Crashed int
	Seq     uint64
	// Holding: the Lease is this instance's, or may be. Live: its engine may run as primary.
	Holding, Live bool
}

// New makes an elector from what an earlier process kept.
func New(options Options) (*Elector, error) {
	lease, err := newLeaseClient(options.API, options.Namespace, options.LeaseName)
	if err != nil {
		return nil, err
	}
	return newElector(options, lease, newPeerClient(options.Peers))
}

func newElector(options Options, lease leaseAPI, peers peerAPI) (*Elector, error) {
	disk, err := loadDisk(options.Memory)
	if err != nil {
		return nil, err
	}
	start := options.Clock.Read()
	e := &Elector{
		Options: options, lease: lease, peers: peers, wants: newWants(options.Want),
		inputs: make(chan input, 64), done: make(chan struct{}),
		line: timeline{start: start, last: start}, known: Status{Disk: disk},
	}
	e.executor = newExecutor(options.Memory, options.Metrics, e.wants)
	e.machine = election.New(election.Self{
		Instance: options.Instance, Identity: options.Identity.String(), NewName: options.NewName,
		// An earlier process of this pod wrote less than a record in a microsecond.
		Stamp: start.Wall.Microseconds(),
	}, disk, e.line.advance(start))
	e.deadline.Store(&Deadline{})
	e.publish()
	return e, nil
}

// Run drives the machine until the context ends. It does not wait for a volume that hangs.
func (e *Elector) Run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.LoggerWithName(klog.FromContext(ctx), "election"))
	ctx, end := context.WithCancel(ctx)
	defer close(e.done)
	var group sync.WaitGroup
	defer group.Wait()
	defer end()
	if err := e.peers.serve(ctx, &group, e.answer); err != nil {
		return err
	}
	go e.executor.run(ctx)
	go e.wants.run(ctx)
	group.Go(func() {
		e.lease.watch(ctx, func(kind watch.EventType, lease *coordinationv1.Lease) { e.watched(ctx, kind, lease) })
	})
	e.wants.put(e.machine.Want())
	e.loop(ctx)
	return nil
}

func (e *Elector) loop(ctx context.Context) {
	ticker := time.NewTicker(tickPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case in := <-e.inputs:
			in(ctx)
		case <-ticker.C:
			e.step(ctx, election.Tick{})
		}
	}
}

// step gives the machine an event, and sends what comes of it on its way.
func (e *Elector) step(ctx context.Context, event election.Event) {
	before := e.machine.Want()
	now := e.line.advance(e.Clock.Read())
	e.fence.Store(int64(now.Fence))
	actions := e.machine.Step(now, event)
	e.guard()
	var b batch
	for _, action := range actions {
		persist, ok := action.(election.Persist)
		if !ok {
			b.actions = append(b.actions, e.action(ctx, action))
			continue
		}
		if len(b.actions) > 0 || b.disk != nil {
			e.executor.add(b)
			b = batch{}
		}
		e.known.Disk, b.disk = persist.Disk, &persist.Disk
	}
	if want := e.machine.Want(); want.Seq != before.Seq {
		klog.FromContext(ctx).Info("The engine must be", "mode", want.Mode, "kill", want.Kill, "source", want.Source,
			"synchronous", want.Synchronous.Names, "quorum", want.Synchronous.W, "admit", want.Admit)
		if want.Mode == election.ModeDown {
			e.wants.put(want)
		} else {
			b.want = &want
		}
	}
	if b.disk != nil || b.want != nil || len(b.actions) > 0 {
		e.executor.add(b)
	}
	e.publish()
}

// guard tells the watchdog until when the engine may run unless the loop says something else.
func (e *Elector) guard() {
	var d Deadline
	if fence, ok := e.machine.Deadline(); ok {
		d = e.line.deadline(fence)
	}
	e.deadline.Store(&d)
	e.SetDeadline(d)
}

func (e *Elector) publish() {
	e.known.Handover = e.machine.Handover()
	e.known.Holding, e.known.Live = e.machine.Reign()
	e.known.Seq = e.machine.Want().Seq
	status := e.known
	e.status.Store(&status)
	durations := election.DefaultDurations
	if e.known.Lease.Durations.Valid() {
		durations = e.known.Lease.Durations
	}
	e.limit.Store(int64(min(requestLimit, durations.RenewPeriod/2)))
	e.Metrics.see(&e.known.Lease, e.Identity.String())
}

// action is what an action of the machine comes to.
func (e *Elector) action(ctx context.Context, action election.Action) func() {
	switch a := action.(type) {
	case election.ReadLease:
		return func() { e.read(ctx) }
	case election.WriteLease:
		base, kind := e.base(a.Base), e.kindOf(&a.Record)
		return func() { go e.write(ctx, a, base, kind) }
	case election.Ask:
		if a.Question.Kind == election.AskPromise && a.Question.Round != e.round {
			e.round = a.Question.Round
			e.Metrics.failsafe.Inc()
		}
		return func() { go e.ask(ctx, a) }
	case election.Reply:
		return func() {
			if reply, ok := e.replies.Load(a.Token); ok {
				reply.(chan election.Answer) <- a.Answer
			}
		}
	default:
		panic(fmt.Sprintf("no such action: %T", action))
	}
}

func (e *Elector) kindOf(r *election.Record) string {
	switch {
	case r.Holder == "":
		return writeRelease
	case r.Epoch > e.known.Lease.Epoch:
		return writeClaim
	}
	return writeRenewal
}

// post gives the loop something to do.
func (e *Elector) post(in input) {
	select {
	case e.inputs <- in:
	case <-e.done:
	}
}

// SeeEngine tells what the agent found; the facts are the loop's from then on.
func (e *Elector) SeeEngine(facts election.Facts) {
	e.post(func(ctx context.Context) {
		e.known.Crashed = facts.Crashed
		e.step(ctx, election.EngineSeen{Facts: facts})
	})
}

// SeeSpec tells what the operator wants; and what a Lease carries (labels, owner) that is made anew
// because nobody knows the old one.
func (e *Elector) SeeSpec(spec election.Spec, like metav1.ObjectMeta) {
	spec.Durations.Lease = wholeSeconds(spec.Durations.Lease)
	e.peers.meet(spec.Members)
	e.post(func(ctx context.Context) {
		e.like = like
		e.step(ctx, election.SpecSeen{Spec: spec})
	})
}

// DataMade tells that a new, empty database was made, with this name.
func (e *Elector) DataMade(name string) {
	e.post(func(ctx context.Context) { e.step(ctx, election.DataMade{Name: name}) })
}

// DataLost tells that the data is gone, although its name was kept.
func (e *Elector) DataLost() {
	e.post(func(ctx context.Context) { e.step(ctx, election.DataLost{}) })
}

// mono is the time since the elector was made, on the monotonic clock: reads are timed with it.
func (e *Elector) mono() time.Duration { return e.Clock.Read().Mono - e.line.start.Mono }

// Fence is the clock that facts are timed with (election.Now), as the loop read it last.
func (e *Elector) Fence() time.Duration { return time.Duration(e.fence.Load()) }

// Expired says that the engine must not be started as primary or promoted, whatever was wanted: it
// should be down by now. The agent looks right before it does either, because it may have slept since.
func (e *Elector) Expired() bool { return e.deadline.Load().Passed(e.Clock.Read()) }

// Status is what the loop knows.
func (e *Elector) Status() Status { return *e.status.Load() }

var errNoAnswer = errors.New("the election gave no answer in time")

// answer carries a peer's question through the loop. Its reply comes when what it relies on is kept.
func (e *Elector) answer(ctx context.Context, q election.Question) (election.Answer, error) {
	token, reply := e.tokens.Add(1), make(chan election.Answer, 1)
	e.replies.Store(token, reply)
	defer e.replies.Delete(token)
	e.post(func(ctx context.Context) { e.step(ctx, election.Asked{Question: q, Token: token}) })
	select {
	case answer := <-reply:
		if q.Kind == election.AskPromise && answer.Yes {
			e.Metrics.promises.Inc()
		}
		return answer, nil
	case <-ctx.Done():
		return election.Answer{}, errNoAnswer
	}
}

// ask asks a peer. No answer is no event: the machine sees to what it waits for.
func (e *Elector) ask(ctx context.Context, a election.Ask) {
	answer, err := e.peers.ask(ctx, a.Instance, a.Question)
	if err != nil {
		klog.FromContext(ctx).V(4).Info("A peer does not answer", "instance", a.Instance, "question", a.Question.Kind, "err", err)
		return
	}
	e.post(func(ctx context.Context) { e.step(ctx, election.Answered{Question: a.Question, Answer: answer}) })
}
