//go:build integration

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/retry"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/engine/confighash"
	clientset "github.com/platform-io/database-operator/pkg/generated/clientset/versioned"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/testing/apiserver"
	"github.com/platform-io/database-operator/pkg/testing/postgres"
)

// The fixture is a pod without a kubelet: the real agent, as an unprivileged process, with the
// rights of its Role alone, a real API server (behind a proxy that can be cut), a real engine.
// The test plays the operator and the kubelet.

const (
	databaseName = "orders"
	instanceName = "orders-0"
	// limit is for what waits for client-go, which reads a token file once a minute.
	limit = 2 * time.Minute
)

var (
	binaryOnce sync.Once
	binaryPath string
	binaryErr  error
)

// agentBinary builds the agent once.
func agentBinary(t *testing.T) string {
	t.Helper()
	binaryOnce.Do(func() {
		dir, err := os.MkdirTemp("", "agent-bin-") //nolint:usetesting // it outlives the test that makes it
		if err != nil {
			binaryErr = err
			return
		}
		binaryPath = filepath.Join(dir, "database-agent")
		build := exec.Command("go", "build", "-o", binaryPath, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			binaryErr = fmt.Errorf("%w: %s", err, output)
			return
		}
		binaryErr = os.Chmod(dir, 0o755)
	})
	if binaryErr != nil {
		t.Fatalf("build the agent: %v", binaryErr)
	}
	return binaryPath
}

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryPath != "" {
		_ = os.RemoveAll(filepath.Dir(binaryPath))
	}
	os.Exit(code)
}

type fixture struct {
	t         *testing.T
	engine    dbv1.Engine
	dir       string
	namespace string
	port      int
	address   string
	peers     string
	kube      kubernetes.Interface
	databases clientset.Interface
	proxy     *proxy
	podUID    string
	config    *rest.Config

	credential *syscall.Credential
	cmd        *exec.Cmd
	exited     chan error
	log        *logBuffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	postgres.Programs(t)
	return newFixtureOf(t, dbv1.PostgreSQL)
}

func newFixtureOf(t *testing.T, engine dbv1.Engine) *fixture {
	t.Helper()
	config := apiserver.Start(t)
	// Short: the path of a socket has at most 107 bytes.
	dir, err := os.MkdirTemp("", "agt") //nolint:usetesting // t.TempDir() is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		t: t, engine: engine, dir: dir, namespace: apiserver.Namespace(t, config), port: freePort(t), config: config,
		address: "127.0.0.1:" + strconv.Itoa(freePort(t)), peers: "127.0.0.1:" + strconv.Itoa(freePort(t)), credential: postgres.Account(t), log: &logBuffer{},
		kube: kubernetes.NewForConfigOrDie(config), databases: clientset.NewForConfigOrDie(config),
	}
	t.Cleanup(f.end)
	for _, name := range []string{"volume", "run", "config"} {
		f.must(os.Mkdir(filepath.Join(dir, name), 0o700))
		f.chown(filepath.Join(dir, name))
	}
	f.chown(dir)
	f.proxy = newProxy(t, config.Host)
	f.makeObjects()
	return f
}

// end ends the agent and what it left, and shows its log when the test failed.
func (f *fixture) end() {
	if f.cmd != nil {
		f.kill()
	}
	if f.t.Failed() || os.Getenv("SHOWLOG") != "" {
		f.t.Logf("the agent's log:\n%s", f.log.String())
	}
	_ = os.RemoveAll(f.dir)
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) chown(path string) {
	if f.credential != nil {
		f.must(os.Chown(path, int(f.credential.Uid), int(f.credential.Gid)))
	}
}

// baseConfig is what the operator would render, small.
func baseConfig(settings ...string) map[string]string {
	return map[string]string{
		"postgresql.conf": "listen_addresses = '127.0.0.1'\nlog_line_prefix = '%m [%p] %q%u@%d '\nlc_messages = 'C'\n" +
			"restart_after_crash = off\nshared_buffers = 16MB\nmax_connections = 20\n" + strings.Join(settings, "\n") + "\n",
		"pg_hba.conf":   "local all postgres peer map=agent\nhost all postgres all reject\nhost all all all scram-sha-256\n",
		"pg_ident.conf": "agent /^.*$ postgres\n",
	}
}

// mount plays the kubelet: new files in a new folder, then a link.
func (f *fixture) mount(files map[string]string) string {
	f.t.Helper()
	hash := confighash.ConfigHash(files)
	config := filepath.Join(f.dir, "config")
	version := filepath.Join(config, "..v"+strconv.FormatInt(time.Now().UnixNano(), 10))
	f.must(os.Mkdir(version, 0o755))
	for name, content := range files {
		f.must(os.WriteFile(filepath.Join(version, name), []byte(content), 0o644))
		link := filepath.Join(config, name)
		if _, err := os.Lstat(link); err != nil {
			f.must(os.Symlink(filepath.Join("..data", name), link))
		}
	}
	f.must(os.Symlink(filepath.Base(version), filepath.Join(config, "..data_tmp")))
	f.must(os.Rename(filepath.Join(config, "..data_tmp"), filepath.Join(config, "..data")))
	return hash
}

func (f *fixture) makePod() {
	f.t.Helper()
	pod, err := f.kube.CoreV1().Pods(f.namespace).Create(f.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: instanceName, Labels: map[string]string{"app": databaseName}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "database", Image: "postgres"}}},
	}, metav1.CreateOptions{})
	f.must(err)
	f.podUID = string(pod.UID)
}

func (f *fixture) makeObjects() {
	f.t.Helper()
	ctx := f.t.Context()
	f.makePod()
	f.setPassword("first-password")
	_, err := f.kube.CoordinationV1().Leases(f.namespace).Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: naming.Lease(databaseName)},
	}, metav1.CreateOptions{})
	f.must(err)
	_, err = f.kube.RbacV1().Roles(f.namespace).Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: naming.Agent(databaseName)},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{dbv1.GroupName}, Resources: []string{"databaseinstances"}, ResourceNames: []string{instanceName}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{dbv1.GroupName}, Resources: []string{"databaseinstances/status"}, ResourceNames: []string{instanceName}, Verbs: []string{"patch"}},
			{APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{instanceName}, Verbs: []string{"get", "patch"}},
			{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{naming.Accounts(databaseName)}, Verbs: []string{"get"}},
			{
				APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"}, ResourceNames: []string{naming.Lease(databaseName)},
				Verbs: []string{"get", "watch", "update"},
			},
		},
	}, metav1.CreateOptions{})
	f.must(err)
	_, err = f.kube.RbacV1().RoleBindings(f.namespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: naming.Agent(databaseName)},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: naming.Agent(databaseName)},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: naming.Agent(databaseName), Namespace: f.namespace}},
	}, metav1.CreateOptions{})
	f.must(err)
	f.makeServiceAccount()
	f.renewToken()
	f.writeKubeconfig()
}

func (f *fixture) writeKubeconfig() {
	f.t.Helper()
	cluster := &clientcmdapi.Cluster{Server: "https://" + f.proxy.address, CertificateAuthorityData: f.config.CAData}
	if len(cluster.CertificateAuthorityData) == 0 {
		ca, err := os.ReadFile(f.config.CAFile)
		f.must(err)
		cluster.CertificateAuthorityData = ca
	}
	if parsed, err := url.Parse(f.config.Host); err == nil {
		cluster.TLSServerName = parsed.Hostname()
	}
	path := filepath.Join(f.dir, "kubeconfig")
	f.must(clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": cluster},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {TokenFile: f.tokenFile()}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u", Namespace: f.namespace}},
		CurrentContext: "x",
	}, path))
	f.chown(path)
}

// setPassword writes the Secret with the application's password.
func (f *fixture) setPassword(password string) {
	f.t.Helper()
	secrets := f.kube.CoreV1().Secrets(f.namespace)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: naming.Accounts(databaseName)}, StringData: map[string]string{"app": password}}
	if _, err := secrets.Create(f.t.Context(), secret, metav1.CreateOptions{}); err != nil {
		_, err = secrets.Update(f.t.Context(), secret, metav1.UpdateOptions{})
		f.must(err)
	}
}

// application is the account that applications get.
func application(version string) dbv1.InstanceAccount {
	return dbv1.InstanceAccount{
		Username: "app", Database: "orders", Roles: []string{"application"}, State: dbv1.AccountPresent, PasswordVersion: version,
		PasswordRef: &dbv1.SecretKeyReference{Name: naming.Accounts(databaseName), Key: "app"},
	}
}

// declare makes the DatabaseInstance.
func (f *fixture) declare(spec dbv1.DatabaseInstanceSpec) {
	f.t.Helper()
	spec.DatabaseName, spec.Engine = databaseName, f.engine
	spec.Members = []dbv1.InstanceMember{{Name: instanceName, Host: "127.0.0.1", Voter: true}}
	if f.engine == dbv1.PostgreSQL {
		spec.Replication = replication()
	}
	_, err := f.databases.DatabaseV1().DatabaseInstances(f.namespace).Create(f.t.Context(), &dbv1.DatabaseInstance{
		ObjectMeta: metav1.ObjectMeta{Name: instanceName}, Spec: spec,
	}, metav1.CreateOptions{})
	f.must(err)
}

// replication is for engines that elect.
func replication() *dbv1.InstanceReplication {
	return &dbv1.InstanceReplication{
		LeaseName: naming.Lease(databaseName), MaxLag: 16 << 20,
		LeaseDuration: metav1.Duration{Duration: 15 * time.Second}, RenewDeadline: metav1.Duration{Duration: 10 * time.Second},
		RenewPeriod: metav1.Duration{Duration: 5 * time.Second}, RetryPeriod: metav1.Duration{Duration: time.Second},
	}
}

// change edits the spec, as the operator does.
func (f *fixture) change(edit func(*dbv1.DatabaseInstanceSpec)) int64 {
	f.t.Helper()
	generation := int64(0)
	f.must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		instance := f.instance()
		edit(&instance.Spec)
		updated, err := f.databases.DatabaseV1().DatabaseInstances(f.namespace).Update(f.t.Context(), instance, metav1.UpdateOptions{})
		if err == nil {
			generation = updated.Generation
		}
		return err
	}))
	return generation
}

func (f *fixture) instance() *dbv1.DatabaseInstance {
	f.t.Helper()
	instance, err := f.databases.DatabaseV1().DatabaseInstances(f.namespace).Get(f.t.Context(), instanceName, metav1.GetOptions{})
	f.must(err)
	return instance
}

// await waits until the status is as it must be, and returns it.
func (f *fixture) await(what string, good func(*dbv1.DatabaseInstanceStatus) bool) dbv1.DatabaseInstanceStatus {
	f.t.Helper()
	var last *dbv1.DatabaseInstance
	f.poll(what, func() bool {
		last = f.instance()
		return good(&last.Status)
	}, func() string { return fmt.Sprintf("%+v", last.Status) })
	return last.Status
}

// poll waits for a condition.
func (f *fixture) poll(what string, good func() bool, show func() string) {
	f.t.Helper()
	err := wait.PollUntilContextTimeout(f.t.Context(), 50*time.Millisecond, limit, true, func(context.Context) (bool, error) {
		return good(), nil
	})
	if err != nil {
		f.t.Fatalf("waiting for %s: %v; it is %s", what, err, show())
	}
}

// args are the agent's arguments.
func (f *fixture) args() []string {
	return []string{
		"run", "--engine=" + string(f.engine), "--database=" + databaseName, "--instance=" + instanceName, "--namespace=" + f.namespace,
		"--pod-uid=" + f.podUID, "--port=" + strconv.Itoa(f.port), "--data-dir=" + filepath.Join(f.dir, "volume"),
		"--config-dir=" + filepath.Join(f.dir, "config"), "--run-dir=" + filepath.Join(f.dir, "run"),
		"--listen=" + f.address, "--listen-peers=" + f.peers, "--kubeconfig=" + filepath.Join(f.dir, "kubeconfig"), "--grace-period=30s", "--log-level=debug",
	}
}

// start starts the agent.
func (f *fixture) start() {
	f.t.Helper()
	f.launch(exec.Command(agentBinary(f.t), f.args()...), f.credential)
}

// launch starts a command that is, or becomes, the agent.
func (f *fixture) launch(cmd *exec.Cmd, credential *syscall.Credential) {
	f.t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Setpgid: true}
	cmd.Stdout, cmd.Stderr = f.log, f.log
	cmd.Dir = "/"
	f.must(cmd.Start())
	f.cmd, f.exited = cmd, make(chan error, 1)
	go func(exited chan error) { exited <- cmd.Wait() }(f.exited)
}

// kill ends the container as the kernel does when PID 1 dies: everything at once.
func (f *fixture) kill() {
	pids := append(descendantsOf(f.cmd.Process.Pid), f.cmd.Process.Pid)
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	for _, pid := range append(descendantsOf(f.cmd.Process.Pid), pids...) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err := <-f.exited; err == nil {
		f.t.Log("the agent had ended before it was killed")
	}
	f.cmd = nil
	for _, pid := range pids {
		for syscall.Kill(pid, 0) == nil && !isZombie(pid) {
			_, _ = os.ReadFile("/proc/uptime")
		}
	}
}

// terminate is the kubelet's SIGTERM; it returns how long the end took.
func (f *fixture) terminate() time.Duration {
	f.t.Helper()
	begin := time.Now()
	f.must(f.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-f.exited:
		f.cmd = nil
		if err != nil {
			f.t.Fatalf("the agent ended with %v", err)
		}
	case <-time.After(limit):
		f.t.Fatal("the agent does not end")
	}
	return time.Since(begin)
}

// provision brings the instance to readiness, with the operator's part in it.
func (f *fixture) provision(files map[string]string) dbv1.DatabaseInstanceStatus {
	f.t.Helper()
	f.declare(dbv1.DatabaseInstanceSpec{Bootstrap: true, ConfigHash: f.mount(files), Accounts: []dbv1.InstanceAccount{application("1")}})
	f.start()
	status := f.await("a system identifier", func(s *dbv1.DatabaseInstanceStatus) bool { return s.SystemID != "" })
	f.change(func(spec *dbv1.DatabaseInstanceSpec) { spec.SystemID, spec.Bootstrap = status.SystemID, false })
	return f.await("readiness", settled)
}

// settled: ready, with every account.
func settled(s *dbv1.DatabaseInstanceStatus) bool {
	if !s.Ready || len(s.Accounts) == 0 {
		return false
	}
	for _, account := range s.Accounts {
		if !account.Applied || !account.Verified {
			return false
		}
	}
	return true
}

// get asks the agent over HTTP.
func (f *fixture) get(path string) (int, string) {
	response, err := http.Get("http://" + f.address + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
