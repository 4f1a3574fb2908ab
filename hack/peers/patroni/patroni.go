// Package patroni makes a group of three pods with Patroni, for a comparison with a replicated Database.
//
//  1. Manifests renders all objects of a group. The pods are like those of a Database of profile dev: resources, volumes, probes, spread,
//     Pod Security, and the settings of PostgreSQL that follow from memory and volume.
//  2. Patroni keeps the leader's name, and the synchronous replica's, in annotations of objects, which a Group reads.
//  3. The program is the one of Debian (hack/cluster makes the image), configured as its manual says.
//
// A watchdog device, the last thing that the manual recommends, does not exist in pods.
package patroni

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"text/template"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Image is the name of the recipe of hack/cluster.
const Image = "patroni"

// LabelRole is the pods' label with the role, and RolePrimary its value for the primary.
const (
	LabelRole   = "role"
	RolePrimary = "master"
)

// Settings are how Patroni is set up.
type Settings struct {
	// Endpoints: the store is objects of the kind Endpoints, and the Service leads where they say; else ConfigMaps, and the Service leads
	// to the label of the primary.
	Endpoints bool
	// Dynamic is the dynamic configuration, beside that of PostgreSQL.
	Dynamic map[string]any
	// Parameters of PostgreSQL, beside those that every group has.
	Parameters map[string]string
}

// Defaults is Patroni with nothing said: the lock lasts 30 s and is renewed every 10 s, replication is asynchronous, a primary that cannot
// renew steps down.
func Defaults() Settings { return Settings{} }

// Tuned is Patroni as fast and as safe as it goes. The lock's 20 s, the loop's 1 s and the 3 s of retries are the least that it accepts.
// Endpoints are the store that its manual recommends. Time-outs of PostgreSQL are those of a Database.
func Tuned() Settings {
	return Settings{
		Endpoints: true,
		Dynamic: map[string]any{
			"ttl": 20, "loop_wait": 1, "retry_timeout": 3,
			"failsafe_mode":    true,
			"synchronous_mode": true, "synchronous_mode_strict": true,
		},
		Parameters: map[string]string{
			"wal_sender_timeout": "5s", "wal_receiver_timeout": "5s", "wal_receiver_status_interval": "1s", "wal_retrieve_retry_interval": "500ms",
		},
	}
}

// Synchronous says whether commits wait for a replica.
func (s Settings) Synchronous() bool {
	on, _ := s.Dynamic["synchronous_mode"].(bool)
	return on
}

// parameters are what a Database of profile dev with a volume of 1 GiB has.
var parameters = map[string]string{
	"max_connections": "100", "shared_buffers": "64MB", "effective_cache_size": "192MB", "maintenance_work_mem": "16MB", "work_mem": "4MB",
	"max_wal_size": "170MB", "min_wal_size": "80MB", "wal_keep_size": "64MB", "random_page_cost": "1.1",
}

//go:embed manifests.yaml
var manifests string

var rendering = template.Must(template.New("manifests").Parse(manifests))

// Manifests renders the objects of a group.
func Manifests(name, password string, s Settings) (string, error) {
	all := maps.Clone(parameters)
	maps.Copy(all, s.Parameters)
	dynamic := map[string]any{"postgresql": map[string]any{"use_pg_rewind": true, "parameters": all}}
	maps.Copy(dynamic, s.Dynamic)
	dcs, err := json.Marshal(dynamic)
	if err != nil {
		return "", fmt.Errorf("encoding the dynamic configuration: %w", err)
	}
	var b bytes.Buffer
	err = rendering.Execute(&b, map[string]any{"Name": name, "Password": password, "Endpoints": s.Endpoints, "DCS": string(dcs)})
	if err != nil {
		return "", fmt.Errorf("rendering the manifests: %w", err)
	}
	return b.String(), nil
}

// Group is a group of three pods by its name.
type Group struct {
	Settings
	Kube            kubernetes.Interface
	Namespace, Name string
}

// Holder is the name of the pod that has the leader's lock, or had it last.
func (g Group) Holder(ctx context.Context) (string, error) {
	name := g.Name
	if !g.Endpoints {
		name += "-leader"
	}
	record, err := g.record(ctx, name)
	return record["leader"], err
}

// Settled says whether a replica is recorded as the synchronous one of this primary, where one must be: no other may take over, and before,
// nobody may.
func (g Group) Settled(ctx context.Context, primary string) (bool, error) {
	if !g.Synchronous() {
		return true, nil
	}
	record, err := g.record(ctx, g.Name+"-sync")
	return record["leader"] == primary && record["sync_standby"] != "", err
}

// record is what Patroni keeps in the annotations of an object.
func (g Group) record(ctx context.Context, name string) (map[string]string, error) {
	if g.Endpoints {
		//nolint:staticcheck // deprecated, and where Patroni keeps it
		object, err := g.Kube.CoreV1().Endpoints(g.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("reading what Patroni keeps: %w", err)
		}
		return object.Annotations, nil
	}
	object, err := g.Kube.CoreV1().ConfigMaps(g.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading what Patroni keeps: %w", err)
	}
	return object.Annotations, nil
}

// SwitchOver is the command, in the primary's pod, that hands over to a replica of Patroni's choice.
func SwitchOver(primary string) []string {
	return []string{"patronictl", "-c", "/etc/patroni/patroni.yml", "switchover", "--leader", primary, "--force"}
}
