package validation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// networkingRules are about ports, certificates and the metadata of what clients and pods see.
var networkingRules = []Rule{
	{
		ID: "port-range", Paths: []string{"spec.networking"},
		CEL: `!has(self.port) || (self.port >= 1024 && self.port <= 65535)`,
		Message: "spec.networking.port must be between 1024 and 65535, because the engine does not run as root, and listens on none of the others; " +
			"choose one there, or leave it out for the engine's own",
		Check: func(s *subject) {
			if n := s.spec.Networking; n != nil {
				s.refuse(!listens(n.Port), "spec.networking.port", n.Port)
			}
		},
	},
	{
		ID: "metrics-port-range", Paths: []string{"spec.observability.metrics"},
		CEL: `!has(self.port) || (self.port >= 1024 && self.port <= 65535)`,
		Message: "spec.observability.metrics.port must be between 1024 and 65535, because nothing in the pod runs as root, and listens on none of the others; " +
			"choose one there, or leave it out for the exporter's usual one",
		Check: func(s *subject) {
			if o := s.spec.Observability; o != nil && o.Metrics != nil {
				s.refuse(!listens(o.Metrics.Port), "spec.observability.metrics.port", o.Metrics.Port)
			}
		},
	},
	{
		ID: "port-agent", Paths: []string{"spec.networking"},
		CEL: `!has(self.port) || !(self.port in [8008, 8009])`,
		Message: "spec.networking.port must not be 8008 or 8009, because the agent listens there; " +
			"choose another, or leave it out for the engine's own",
		Check: func(s *subject) {
			if n := s.spec.Networking; n != nil {
				s.refuse(agentPort(n.Port), "spec.networking.port", n.Port)
			}
		},
	},
	{
		ID: "metrics-port-agent", Paths: []string{"spec.observability.metrics"},
		CEL: `!has(self.port) || !(self.port in [8008, 8009])`,
		Message: "spec.observability.metrics.port must not be 8008 or 8009, because the agent listens there; " +
			"choose another, or leave it out for the exporter's usual one",
		Check: func(s *subject) {
			if o := s.spec.Observability; o != nil && o.Metrics != nil {
				s.refuse(agentPort(o.Metrics.Port), "spec.observability.metrics.port", o.Metrics.Port)
			}
		},
	},
	{
		ID: "metrics-port",
		Message: "spec.observability.metrics.port must not be the port that clients connect to, because only one of them can listen there; " +
			"choose another for one of them",
		Check: func(s *subject) {
			port := dbv1.MetricsPort(s.db)
			s.refuse(s.spec.Engine != dbv1.SQLite && port != 0 && dbv1.MetricsEnabled(s.db) && port == dbv1.Port(s.db),
				"spec.observability.metrics.port", port)
		},
	},
	{
		ID: "service-monitor", Paths: []string{"spec.observability.metrics"},
		CEL: `!has(self.serviceMonitor) || !self.serviceMonitor || !has(self.enabled) || self.enabled`,
		Message: "spec.observability.metrics.serviceMonitor needs metrics, because there is nothing else to scrape; " +
			"set enabled: true, or serviceMonitor: false",
		Check: func(s *subject) {
			if o := s.spec.Observability; o != nil && o.Metrics != nil {
				s.refuse(o.Metrics.ServiceMonitor && !dbv1.MetricsEnabled(s.db), "spec.observability.metrics.serviceMonitor", true)
			}
		},
	},
	{
		ID: "redis-cluster-port", Paths: []string{"spec"},
		CEL: `self.engine != 'Redis' || self.topology.mode != 'Cluster' || !has(self.networking) || !has(self.networking.port) || self.networking.port <= 55535`,
		Message: "spec.networking.port must be at most 55535 for Redis Cluster, because its nodes talk on the port 10000 above; " +
			"choose a lower one, or leave it out",
		Check: func(s *subject) {
			s.refuse(s.spec.Engine == dbv1.Redis && dbv1.Mode(s.db) == dbv1.Cluster && dbv1.Port(s.db) > 55535,
				"spec.networking.port", dbv1.Port(s.db))
		},
	},
	{
		ID: "tls-one-source", Paths: []string{"spec.networking.tls"},
		CEL: `!(has(self.certManager) && self.certManager && has(self.secretName) && size(self.secretName) > 0)`,
		Message: "spec.networking.tls.secretName must not be set with certManager: true, because cert-manager makes that Secret; " +
			"keep one of the two",
		Check: func(s *subject) {
			if tls := tlsOf(s.spec); tls != nil {
				s.refuse(tls.CertManager && tls.SecretName != "", "spec.networking.tls.secretName", tls.SecretName)
			}
		},
	},
	{
		ID: "tls-source", Paths: []string{"spec.networking.tls"},
		CEL: `!has(self.enabled) || !self.enabled || (has(self.certManager) && self.certManager) || (has(self.secretName) && size(self.secretName) > 0)`,
		Message: "spec.networking.tls needs a certificate when enabled; " +
			"set certManager: true, or secretName to a Secret of type kubernetes.io/tls",
		Check: func(s *subject) {
			if tls := tlsOf(s.spec); tls != nil {
				s.refuse(tls.Enabled && !tls.CertManager && tls.SecretName == "", "spec.networking.tls", nil)
			}
		},
	},
	{
		ID: "tls-issuer", Paths: []string{"spec.networking.tls"},
		CEL: `!has(self.issuerRef) || (has(self.certManager) && self.certManager)`,
		Message: "spec.networking.tls.issuerRef is for cert-manager alone; " +
			"set certManager: true, or remove issuerRef",
		Check: func(s *subject) {
			if tls := tlsOf(s.spec); tls != nil {
				s.refuse(tls.IssuerRef != nil && !tls.CertManager, "spec.networking.tls.issuerRef", tls.IssuerRef)
			}
		},
	},
	{
		ID: "service-annotations", Paths: []string{"spec.networking"},
		CEL: `!has(self.annotations) || self.annotations.all(k, !k.startsWith('db.platform.io/'))`,
		Message: "spec.networking.annotations must not begin with db.platform.io/, because the operator reads those as its own; " +
			"choose another prefix",
		Check: func(s *subject) {
			if n := s.spec.Networking; n != nil {
				refuseKeys(s, "spec.networking.annotations", n.Annotations, "db.platform.io/")
			}
		},
	},
	{
		ID: "pod-labels", Paths: []string{"spec.podMetadata"},
		CEL: `!has(self.labels) || self.labels.all(k, !k.startsWith('app.kubernetes.io/') && !k.startsWith('db.platform.io/') && !k.startsWith('statefulset.kubernetes.io/') && !k.startsWith('apps.kubernetes.io/'))`,
		Message: "spec.podMetadata.labels must not begin with app.kubernetes.io/, db.platform.io/, apps.kubernetes.io/ or statefulset.kubernetes.io/, " +
			"because pods are found by those; choose another prefix",
		Check: func(s *subject) {
			if p := s.spec.PodMetadata; p != nil {
				refuseKeys(s, "spec.podMetadata.labels", p.Labels,
					"app.kubernetes.io/", "db.platform.io/", "statefulset.kubernetes.io/", "apps.kubernetes.io/")
			}
		},
	},
	{
		ID: "pod-annotations", Paths: []string{"spec.podMetadata"},
		CEL: `!has(self.annotations) || self.annotations.all(k, !k.startsWith('db.platform.io/'))`,
		Message: "spec.podMetadata.annotations must not begin with db.platform.io/, because the operator reads those as its own; " +
			"choose another prefix",
		Check: func(s *subject) {
			if p := s.spec.PodMetadata; p != nil {
				refuseKeys(s, "spec.podMetadata.annotations", p.Annotations, "db.platform.io/")
			}
		},
	},
	{
		ID: "label-value", Paths: []string{"spec.podMetadata.labels{}"},
		CEL: `self.matches('^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$')`,
		Message: "a value of spec.podMetadata.labels must be letters, digits, -, _ and ., with a letter or digit at both ends, because no pod could have another label; " +
			"put other text into spec.podMetadata.annotations",
		Check: func(s *subject) {
			if p := s.spec.PodMetadata; p != nil {
				for _, name := range slices.Sorted(maps.Keys(p.Labels)) {
					s.refuse(len(validation.IsValidLabelValue(string(p.Labels[name]))) > 0, key("spec.podMetadata.labels", name), string(p.Labels[name]))
				}
			}
		},
	},
	{
		ID:      "metadata-names",
		Message: "labels and annotations must have names that Kubernetes accepts, because no pod or Service could be made with others",
		Check: func(s *subject) {
			if n := s.spec.Networking; n != nil {
				checkNames(s, "spec.networking.annotations", n.Annotations)
			}
			if p := s.spec.PodMetadata; p != nil {
				checkNames(s, "spec.podMetadata.labels", p.Labels)
				checkNames(s, "spec.podMetadata.annotations", p.Annotations)
			}
		},
	},
}

// listens is true for a port that a process without rights can listen on, and for none, which is the default.
func listens(port int32) bool { return port == 0 || port >= 1024 && port <= 65535 }

func agentPort(port int32) bool { return port == 8008 || port == 8009 }

func tlsOf(spec *dbv1.DatabaseSpec) *dbv1.TLSSpec {
	if spec.Networking == nil {
		return nil
	}
	return spec.Networking.TLS
}

// refuseKeys refuses the keys of a map that begin with a prefix.
func refuseKeys[V ~string](s *subject, path string, of map[string]V, prefixes ...string) {
	for _, k := range slices.Sorted(maps.Keys(of)) {
		begins := slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(k, prefix) })
		s.refuse(begins, key(path, k), k)
	}
}

// checkNames judges names as the API server would on the object made with them.
func checkNames[V ~string](s *subject, path string, of map[string]V) {
	for _, name := range slices.Sorted(maps.Keys(of)) {
		for _, wrong := range validation.IsQualifiedName(strings.ToLower(name)) {
			s.refuseWith(key(path, name), name, fmt.Sprintf("not a name that Kubernetes accepts: %s", wrong))
		}
	}
}
