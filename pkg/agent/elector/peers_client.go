package elector

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// Questions to peers: POST /election of a Question as JSON, answered by an Answer, over mutual TLS.
//
// Each peer has connections of its own, which are kept. A new one goes to what DNS says, or to the address
// that is remembered (addresses.go).

const (
	// askLimit is how long an answer may take: a little less than the pause between two rounds, so that
	// the next one finds the peer free.
	askLimit = 450 * time.Millisecond
	// answerSize bounds an answer; a chain grows with every epoch.
	answerSize = 1 << 20

	electionPath = "/election"
)

// PeerOptions say how agents reach each other.
type PeerOptions struct {
	// Listen is the address that is listened on.
	Listen string
	// TLSDir has tls.crt, tls.key and ca.crt.
	TLSDir string
	// Host is the stable DNS name of an instance, Port where its agent listens.
	Host func(instance string) string
	Port int
	// Addresses finds those names.
	Addresses *Addresses
}

// peerAPI is what the elector needs of its peers.
type peerAPI interface {
	// ask returns a peer's answer.
	ask(ctx context.Context, instance string, q election.Question) (election.Answer, error)
	// meet makes peers known before they are asked.
	meet(instances []string)
	// serve answers questions until the context ends.
	serve(ctx context.Context, group *sync.WaitGroup, answer answerer) error
}

// answerer answers a question within its context.
type answerer func(ctx context.Context, q election.Question) (election.Answer, error)

// errBusy: the peer has not answered the question before.
var errBusy = errors.New("the peer is still being asked")

// peerClient reaches the agents of the other instances.
type peerClient struct {
	options PeerOptions
	keys    *keys

	mu    sync.Mutex
	peers map[string]*peer
}

func newPeerClient(options PeerOptions) *peerClient {
	return &peerClient{options: options, keys: &keys{dir: options.TLSDir}, peers: map[string]*peer{}}
}

// peer is one of them.
type peer struct {
	*peerClient
	host      string
	transport *http.Transport

	mu     sync.Mutex
	asking map[election.Kind]bool
}

func (c *peerClient) peer(instance string) *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[instance]
	if p == nil {
		p = &peer{peerClient: c, host: c.options.Host(instance), asking: map[election.Kind]bool{}}
		// One connection for each question that may be under way.
		p.transport = &http.Transport{DialTLSContext: p.dial, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, DisableCompression: true}
		c.peers[instance] = p
	}
	return p
}

// meet implements peerAPI.
func (c *peerClient) meet(instances []string) {
	for _, instance := range instances {
		c.options.Addresses.meet(c.options.Host(instance))
	}
}

// ask implements peerAPI.
func (c *peerClient) ask(ctx context.Context, instance string, q election.Question) (election.Answer, error) {
	p := c.peer(instance)
	if !p.begin(q.Kind) {
		return election.Answer{}, errBusy
	}
	defer p.end(q.Kind)
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	answer, err := p.post(ctx, q)
	if err == nil && answer.Instance != instance {
		err = fmt.Errorf("instance %s answers in the place of %s", answer.Instance, instance)
		c.options.Addresses.found(p.host, "")
	}
	if err != nil {
		// What is left may lead to where nobody is any more.
		p.transport.CloseIdleConnections()
	}
	return answer, err
}

func (p *peer) begin(kind election.Kind) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asking[kind] {
		return false
	}
	p.asking[kind] = true
	return true
}

func (p *peer) end(kind election.Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.asking, kind)
}

func (p *peer) post(ctx context.Context, q election.Question) (election.Answer, error) {
	var answer election.Answer
	body, err := json.Marshal(q)
	if err != nil {
		return answer, fmt.Errorf("encode a question: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+p.host+electionPath, bytes.NewReader(body))
	if err != nil {
		return answer, fmt.Errorf("ask: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	// It may be sent twice, when a kept connection turns out to be dead; this header is for the transport.
	request.Header["X-Idempotency-Key"] = nil
	response, err := p.transport.RoundTrip(request)
	if err != nil {
		return answer, fmt.Errorf("ask: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, answerSize))
	if err != nil {
		return answer, fmt.Errorf("ask: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return answer, fmt.Errorf("ask: %s: %s", response.Status, bytes.TrimSpace(content))
	}
	if err := json.Unmarshal(content, &answer); err != nil {
		return answer, fmt.Errorf("read an answer: %w", err)
	}
	return answer, nil
}

// dial connects to the peer, whatever the address. The transport does not end it with the request that it
// was begun for, so it has an end of its own.
func (p *peer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	config, err := p.keys.client(p.host)
	if err != nil {
		return nil, err
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{KeepAlive: 5 * time.Second}, Config: config}
	err = fmt.Errorf("no address of %s is known", p.host)
	for _, address := range p.options.Addresses.Of(ctx, p.host) {
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, network, net.JoinHostPort(address, strconv.Itoa(p.options.Port))); err == nil {
			p.options.Addresses.found(p.host, address)
			return conn, nil
		}
	}
	return nil, fmt.Errorf("connect: %w", err)
}
