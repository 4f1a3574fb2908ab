package elector

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/platform-io/database-operator/pkg/agent/election"
)

// authority makes certificates of agents.
type authority struct {
	t           *testing.T
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "orders"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// write puts a certificate for these names in a folder, as the kubelet does.
func (a *authority) write(dir string, hosts ...string) string {
	a.t.Helper()
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: hosts, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.certificate, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: der}, "tls.key": {Type: "EC PRIVATE KEY", Bytes: encoded},
		"ca.crt": {Type: "CERTIFICATE", Bytes: a.certificate.Raw},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return dir
}

func hostOf(instance string) string { return instance + ".orders-headless.shop.svc" }

// dns answers for the instances on the loopback device.
type dns struct {
	mu        sync.Mutex
	addresses map[string]string
	away      bool
}

func (d *dns) resolve(ctx context.Context, host string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if address, ok := d.addresses[host]; ok {
		return []string{address}, nil
	}
	return nil, errors.New("no such host")
}

func (d *dns) finder() *Addresses {
	a := NewAddresses()
	a.resolve = d.resolve
	return a
}

func (d *dns) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

// network has as many peers as wanted, each on an address of its own and the same port.
type network struct {
	t         *testing.T
	authority *authority
	dns       *dns
	port      int
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return &network{t: t, authority: newAuthority(t), dns: &dns{addresses: map[string]string{}}, port: listener.Addr().(*net.TCPAddr).Port}
}

// peer is the n-th.
func (w *network) peer(n int) *peerClient {
	w.t.Helper()
	instance := fmt.Sprintf("orders-%d", n)
	address := fmt.Sprintf("127.0.0.%d", n+2)
	w.dns.set(func() { w.dns.addresses[hostOf(instance)] = address })
	return newPeerClient(PeerOptions{
		Listen: fmt.Sprintf("%s:%d", address, w.port), TLSDir: w.authority.write(w.t.TempDir(), "*.orders-headless.shop.svc"),
		Host: hostOf, Port: w.port, Addresses: w.dns.finder(),
	})
}

// serve lets a peer answer until the end of the test, or until the function is called.
func (w *network) serve(client *peerClient, answer answerer) (end func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var group sync.WaitGroup
	if err := client.serve(ctx, &group, answer); err != nil {
		w.t.Fatal(err)
	}
	end = func() {
		cancel()
		group.Wait()
	}
	w.t.Cleanup(end)
	return end
}

func echo(instance string) answerer {
	return func(_ context.Context, q election.Question) (election.Answer, error) {
		return election.Answer{Instance: instance, Yes: true, HighestEpoch: q.Epoch}, nil
	}
}

var promise = election.Question{Kind: election.AskPromise, From: "orders-0", Epoch: 4}

// eventually asks until it works: a busy machine may need more than one try.
func eventually(t *testing.T, client *peerClient, instance string) election.Answer {
	t.Helper()
	for begin := time.Now(); ; {
		answer, err := client.ask(t.Context(), instance, promise)
		if err == nil {
			return answer
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatal(err)
		}
	}
}

func TestPeersAnswerEachOther(t *testing.T) {
	w := newNetwork(t)
	asker := w.peer(0)
	var connections atomic.Int32
	asker.options.Addresses.resolve = func(ctx context.Context, host string) ([]string, error) {
		connections.Add(1)
		return w.dns.resolve(ctx, host)
	}
	end := w.serve(w.peer(1), echo("orders-1"))
	if got := eventually(t, asker, "orders-1"); !got.Yes || got.HighestEpoch != 4 {
		t.Errorf("got %+v", got)
	}
	connections.Store(0)
	for range 3 {
		eventually(t, asker, "orders-1")
	}
	if connections.Load() > 1 {
		t.Errorf("connections are not kept: %d", connections.Load())
	}
	// Without DNS the address that worked does, also for a new connection.
	end()
	w.dns.set(func() { w.dns.away = true })
	w.serve(w.peerWithoutDNS(1), echo("orders-1"))
	eventually(t, asker, "orders-1")
}

func TestAPeerThatMovedIsFoundWithoutDNS(t *testing.T) {
	w := newNetwork(t)
	asker := w.peer(0)
	end := w.serve(w.peer(1), echo("orders-1"))
	eventually(t, asker, "orders-1")
	end()
	// Nobody asks it, until DNS is away, too.
	w.dns.set(func() { w.dns.addresses[hostOf("orders-1")] = "127.0.0.9" })
	asker.options.Addresses.refresh(t.Context(), true)
	w.dns.set(func() { w.dns.away = true })
	w.serve(w.peerWithoutDNS(7), echo("orders-1"))
	eventually(t, asker, "orders-1")
}

// One that was never asked is found as well, once it is known that there is one.
func TestAPeerThatIsKnownIsFoundWithoutDNS(t *testing.T) {
	w := newNetwork(t)
	asker := w.peer(0)
	w.serve(w.peer(1), echo("orders-1"))
	asker.meet([]string{"orders-1"})
	asker.options.Addresses.refresh(t.Context(), true)
	w.dns.set(func() { w.dns.away = true })
	eventually(t, asker, "orders-1")
}

// Who is about to lead asks the others, and is found by them, although DNS has not said where it is.
func TestAPeerThatAskedIsFoundWithoutDNS(t *testing.T) {
	w := newNetwork(t)
	w.dns.set(func() { w.dns.away = true })
	asked, asker := w.peer(1), w.peer(0)
	asked.meet([]string{"orders-0"})
	w.serve(asked, echo("orders-1"))
	asker.options.Addresses.found(hostOf("orders-1"), "127.0.0.3")
	eventually(t, asker, "orders-1")
	if got := asked.options.Addresses.Of(t.Context(), hostOf("orders-0")); !slices.Equal(got, []string{"127.0.0.1"}) {
		t.Errorf("got %q", got)
	}
	if got := asked.options.Addresses.Of(t.Context(), hostOf("orders-3")); len(got) > 0 {
		t.Errorf("nobody said where orders-3 is: %q", got)
	}
}

// A question is sent again when a connection that was kept ends instead of carrying the answer.
func TestAKeptConnectionThatEndsCostsNoAnswer(t *testing.T) {
	w := newNetwork(t)
	asker, peer := w.peer(0), w.peer(1)
	listener, err := tls.Listen("tcp", peer.options.Listen, peer.keys.server())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	requests := map[string]int{}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests[r.RemoteAddr]++
		again := requests[r.RemoteAddr] > 1
		mu.Unlock()
		if !again {
			fmt.Fprint(w, `{"Instance":"orders-1"}`)
		} else if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			_ = conn.Close()
		}
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	eventually(t, asker, "orders-1")
	if _, err := asker.ask(t.Context(), "orders-1", promise); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Contains(slices.Collect(maps.Values(requests)), 2) {
		t.Errorf("the connection was not kept: %v", requests)
	}
}

// peerWithoutDNS is a peer that does not change what DNS says.
func (w *network) peerWithoutDNS(n int) *peerClient {
	return newPeerClient(PeerOptions{
		Listen: fmt.Sprintf("127.0.0.%d:%d", n+2, w.port), TLSDir: w.authority.write(w.t.TempDir(), "*.orders-headless.shop.svc"),
		Host: hostOf, Addresses: w.dns.finder(),
	})
}

func TestAnAnswerInThePlaceOfAnotherDoesNotCount(t *testing.T) {
	w := newNetwork(t)
	asker := w.peer(0)
	w.serve(w.peer(1), echo("orders-1"))
	eventually(t, asker, "orders-1")
	// orders-2 has an address that orders-1 has now.
	w.dns.set(func() { w.dns.addresses[hostOf("orders-2")] = w.dns.addresses[hostOf("orders-1")] })
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := asker.ask(t.Context(), "orders-2", promise)
		if err == nil {
			t.Fatal("it counts")
		}
		if strings.Contains(err.Error(), "in the place of") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if asker.options.Addresses.known[hostOf("orders-2")] != "" {
		t.Error("the wrong address is remembered")
	}
}

func TestOneQuestionOfAKindAtATime(t *testing.T) {
	w := newNetwork(t)
	asker := w.peer(0)
	var under, most atomic.Int32
	asked := make(chan struct{}, 100)
	w.serve(w.peer(1), func(ctx context.Context, _ election.Question) (election.Answer, error) {
		most.Store(max(most.Load(), under.Add(1)))
		defer under.Add(-1)
		asked <- struct{}{}
		<-ctx.Done()
		return election.Answer{}, ctx.Err()
	})
	ask := func(q election.Question) error {
		_, err := asker.ask(t.Context(), "orders-1", q)
		return err
	}
	var group sync.WaitGroup
	group.Go(func() { _ = ask(promise) })
	<-asked
	if err := ask(promise); !errors.Is(err, errBusy) {
		t.Errorf("a second one: %v", err)
	}
	begin := time.Now()
	if err := ask(election.Question{Kind: election.AskEpoch, From: "orders-0"}); err == nil || errors.Is(err, errBusy) {
		t.Errorf("one of another kind: %v", err)
	}
	if took := time.Since(begin); took < askLimit || took > 10*askLimit {
		t.Errorf("it waited for %s", took)
	}
	group.Wait()
	if err := ask(promise); err == nil || errors.Is(err, errBusy) {
		t.Errorf("a later one: %v", err)
	}
	if most.Load() > 2 {
		t.Errorf("%d at once", most.Load())
	}
}

func TestOnlyAgentsAreAnswered(t *testing.T) {
	w := newNetwork(t)
	asker := w.peer(0)
	server := w.peer(1)
	var answered atomic.Int32
	w.serve(server, func(ctx context.Context, q election.Question) (election.Answer, error) {
		answered.Add(1)
		return echo("orders-1")(ctx, q)
	})
	post := func(config *tls.Config, body string) (int, error) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 10 * time.Second}
		defer client.CloseIdleConnections()
		config.ServerName = hostOf("orders-1")
		response, err := client.Post("https://"+server.options.Listen+electionPath, "application/json", strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		return response.StatusCode, nil
	}
	good, err := asker.keys.client(hostOf("orders-1"))
	if err != nil {
		t.Fatal(err)
	}
	question := `{"Kind":"Epoch","From":"orders-0"}`
	if code, err := post(good.Clone(), question); code != http.StatusOK {
		t.Fatalf("an agent: %d, %v", code, err)
	}
	answered.Store(0)
	nobody := &tls.Config{RootCAs: good.RootCAs}
	if _, err := post(nobody, question); err == nil {
		t.Error("one without certificate is answered")
	}
	stranger, err := (&keys{dir: newAuthority(t).write(t.TempDir(), hostOf("orders-0"))}).client(hostOf("orders-1"))
	if err != nil {
		t.Fatal(err)
	}
	stranger.RootCAs = good.RootCAs
	if _, err := post(stranger, question); err == nil {
		t.Error("one with the certificate of another database is answered")
	}
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if _, err := post(old, question); err == nil {
		t.Error("TLS 1.2 is spoken")
	}
	for _, body := range []string{"", "{}", `{"Kind":"Epoch"}`, `{"From":"x","Kind":"` + strings.Repeat("x", questionSize) + `"}`} {
		if code, _ := post(good.Clone(), body); code != http.StatusBadRequest {
			t.Errorf("%.30q: %d", body, code)
		}
	}
	if answered.Load() != 0 {
		t.Errorf("%d questions got through", answered.Load())
	}
	// And the asker knows whom it asks.
	w.dns.set(func() { w.dns.addresses["elsewhere"] = w.dns.addresses[hostOf("orders-1")] })
	asker.options.Host = func(string) string { return "elsewhere" }
	if _, err := asker.ask(t.Context(), "orders-9", promise); err == nil || answered.Load() != 0 {
		t.Errorf("a server with another name is asked: %v", err)
	}
}

func TestKeysAreReadAgain(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	dir := first.write(t.TempDir(), "a")
	k := &keys{dir: dir}
	serial := func() string {
		config, err := k.client("a")
		if err != nil {
			t.Fatal(err)
		}
		leaf := config.Certificates[0].Leaf
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: config.RootCAs}); err != nil {
			t.Errorf("the certificate does not fit the authority: %v", err)
		}
		return string(leaf.RawSubjectPublicKeyInfo)
	}
	before := serial()
	if serial() != before {
		t.Error("they change by themselves")
	}
	second.write(dir, "a")
	after := serial()
	if after == before {
		t.Error("the new ones are not read")
	}
	if err := os.WriteFile(filepath.Join(dir, "tls.key"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial() != after {
		t.Error("what does not fit together is used")
	}
	if _, err := (&keys{dir: t.TempDir()}).client("a"); err == nil {
		t.Error("there are keys from nowhere")
	}
}
