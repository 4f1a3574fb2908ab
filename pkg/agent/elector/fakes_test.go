package elector

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// What is around an elector, without a cluster: each part of it can be broken for one instance at a time.

var errAway = errors.New("no route to host")

// fakeAPI is an API server with one Lease.
type fakeAPI struct {
	mu       sync.Mutex
	version  uint64
	lease    *coordinationv1.Lease
	cut      map[string]bool
	dumb     bool // its watches never deliver
	watchers []chan watch.Event
}

func newFakeAPI() *fakeAPI {
	a := &fakeAPI{version: 7, cut: map[string]bool{}}
	a.put(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: testLease, Labels: map[string]string{"a": "b"}}})
	return a
}

func (a *fakeAPI) put(lease *coordinationv1.Lease) *coordinationv1.Lease {
	a.version++
	lease = lease.DeepCopy()
	lease.ResourceVersion = strconv.FormatUint(a.version, 10)
	kind := watch.Modified
	if lease.UID == "" {
		kind, lease.UID = watch.Added, types.UID("u"+lease.ResourceVersion)
	}
	a.lease = lease
	a.tell(kind, lease)
	return lease.DeepCopy()
}

func (a *fakeAPI) tell(kind watch.EventType, lease *coordinationv1.Lease) {
	for _, w := range a.watchers {
		select {
		case w <- watch.Event{Type: kind, Object: lease.DeepCopy()}:
		default:
		}
	}
}

func (a *fakeAPI) remove() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.tell(watch.Deleted, a.lease)
	a.lease = nil
}

func (a *fakeAPI) cutOff(instances ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cut = map[string]bool{}
	for _, instance := range instances {
		a.cut[instance] = true
	}
}

func (a *fakeAPI) record(t *testing.T) election.Record {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	r, err := recordOf(a.lease)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fakeAPIClient is the way of one instance to it.
type fakeAPIClient struct {
	*fakeAPI
	instance string
}

func (c *fakeAPIClient) reach(ctx context.Context, limit time.Duration) error {
	if !pause(ctx, 5*time.Millisecond) {
		return ctx.Err()
	}
	c.mu.Lock()
	cut := c.cut[c.instance]
	c.mu.Unlock()
	if cut {
		pause(ctx, limit)
		return errAway
	}
	return nil
}

func (c *fakeAPIClient) read(ctx context.Context, limit time.Duration) (*coordinationv1.Lease, error) {
	if err := c.reach(ctx, limit); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease == nil {
		return nil, nil
	}
	return c.lease.DeepCopy(), nil
}

func (c *fakeAPIClient) write(ctx context.Context, lease *coordinationv1.Lease, limit time.Duration) (*coordinationv1.Lease, election.Outcome, error) {
	if err := c.reach(ctx, limit); err != nil {
		return nil, election.Unknown, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	version, uid := "", types.UID("")
	if c.lease != nil {
		version, uid = c.lease.ResourceVersion, c.lease.UID
	}
	if lease.ResourceVersion != version || lease.UID != uid {
		return nil, election.Conflict, errors.New("there is another version")
	}
	return c.put(lease), election.Committed, nil
}

func (c *fakeAPIClient) watch(ctx context.Context, changed func(watch.EventType, *coordinationv1.Lease)) {
	events := make(chan watch.Event, 100)
	c.mu.Lock()
	if !c.dumb {
		c.watchers = append(c.watchers, events)
	}
	c.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-events:
			c.mu.Lock()
			cut := c.cut[c.instance]
			c.mu.Unlock()
			if !cut {
				changed(event.Type, event.Object.(*coordinationv1.Lease))
			}
		}
	}
}

// fakeNetwork is between the agents.
type fakeNetwork struct {
	mu    sync.Mutex
	cut   map[string]bool
	peers map[string]answerer
}

func (n *fakeNetwork) cutOff(instances ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = map[string]bool{}
	for _, instance := range instances {
		n.cut[instance] = true
	}
}

func (n *fakeNetwork) reaches(a, b string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[a] && !n.cut[b]
}

type fakePeer struct {
	*fakeNetwork
	instance string
}

func (p *fakePeer) meet([]string) {}

func (p *fakePeer) serve(_ context.Context, _ *sync.WaitGroup, answer answerer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peers[p.instance] = answer
	return nil
}

func (p *fakePeer) ask(ctx context.Context, instance string, q election.Question) (election.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	p.mu.Lock()
	answer := p.peers[instance]
	p.mu.Unlock()
	if answer == nil || !p.reaches(p.instance, instance) {
		<-ctx.Done()
		return election.Answer{}, errAway
	}
	return answer(ctx, q)
}

// fakeMemory is a volume with one file, which can hang or fail.
type fakeMemory struct {
	mu      sync.Mutex
	content []byte
	fail    error
	hung    chan struct{}
	// hangs says which writes hang; nil for all.
	hangs func(*election.Disk) bool
	saves int
}

func (m *fakeMemory) Load() ([]byte, error) { return m.content, nil }

func (m *fakeMemory) Save(content []byte) error {
	m.mu.Lock()
	hung, hangs, fail := m.hung, m.hangs, m.fail
	m.saves++
	m.mu.Unlock()
	var disk election.Disk
	if err := json.Unmarshal(content, &disk); err != nil {
		return err
	}
	if hung != nil && (hangs == nil || hangs(&disk)) {
		<-hung
	}
	if fail != nil {
		return fail
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.content = content
	return nil
}

// hang makes writes hang, all or those of which that is true, until the function that it returns is called.
func (m *fakeMemory) hang(which func(*election.Disk) bool) (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hung := make(chan struct{})
	m.hung, m.hangs = hung, which
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.hung = nil
		close(hung)
	}
}
