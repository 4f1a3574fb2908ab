package validation

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

var engines = []dbv1.Engine{dbv1.PostgreSQL, dbv1.MongoDB, dbv1.Redis, dbv1.Elasticsearch, dbv1.SQLite}

func TestAGoodDatabaseOfEveryEngineBreaksNoRule(t *testing.T) {
	for _, engine := range engines {
		if errs := ValidateDatabase(good(engine), Context{Engine: engineWithSettings{}, CurrentVersion: "1"}); len(errs) > 0 {
			t.Errorf("%s: %v", engine, errs)
		}
	}
}

func TestAnEmptyDatabaseIsRefusedAndDoesNotPanic(t *testing.T) {
	if errs := ValidateDatabase(&dbv1.Database{}, Context{}); len(errs) == 0 {
		t.Error("nothing was refused")
	}
}

func TestEveryRuleRefusesWhatBreaksIt(t *testing.T) {
	for _, c := range ruleCases {
		t.Run(c.rule+": "+c.wrong, func(t *testing.T) {
			before, after := c.made()
			context := c.context
			if errs := ValidateDatabase(before, Context{Old: before}); len(errs) > 0 {
				t.Fatalf("what it was before is refused already: %v", errs)
			}
			if c.change {
				if without := ValidateDatabase(after, context); c.rule != "engine-immutable" && len(without) > 0 {
					t.Errorf("more than the change is wrong: %v", without)
				}
				context.Old = before
			}
			errs := ValidateDatabase(after, context)
			if !slices.ContainsFunc(errs, func(err *field.Error) bool { return err.Field == c.at && strings.Contains(err.Detail, c.says()) }) {
				t.Errorf("no error at %s says %q; all errors: %v", c.at, c.says(), errs)
			}
		})
	}
}

func TestEveryRuleHasACaseThatBreaksIt(t *testing.T) {
	for _, rule := range Rules {
		if rule.Kind == "" && !slices.ContainsFunc(ruleCases, func(c ruleCase) bool { return c.rule == rule.ID }) {
			t.Errorf("no case breaks the rule %s", rule.ID)
		}
	}
}

func TestAllowedTopologiesAreThoseOfTheTable(t *testing.T) {
	type topology struct {
		engine           dbv1.Engine
		mode             dbv1.TopologyMode
		replicas, shards int32
	}
	for _, allowed := range []topology{
		{dbv1.PostgreSQL, dbv1.Standalone, 1, 0},
		{dbv1.PostgreSQL, dbv1.Replicated, 1, 0},
		{dbv1.PostgreSQL, dbv1.Replicated, 2, 0},
		{dbv1.PostgreSQL, dbv1.Replicated, 9, 0},
		{dbv1.MongoDB, dbv1.Standalone, 1, 0},
		{dbv1.MongoDB, dbv1.Replicated, 3, 0},
		{dbv1.MongoDB, dbv1.Replicated, 7, 0},
		{dbv1.MongoDB, dbv1.Replicated, 50, 0},
		{dbv1.MongoDB, dbv1.Sharded, 1, 1},
		{dbv1.MongoDB, dbv1.Sharded, 3, 2},
		{dbv1.Redis, dbv1.Standalone, 1, 0},
		{dbv1.Redis, dbv1.Replicated, 2, 0},
		{dbv1.Redis, dbv1.Cluster, 1, 3},
		{dbv1.Redis, dbv1.Cluster, 2, 128},
		{dbv1.Elasticsearch, dbv1.Cluster, 3, 0},
		{dbv1.Elasticsearch, dbv1.Cluster, 4, 0},
		{dbv1.SQLite, dbv1.Standalone, 1, 0},
	} {
		db := good(allowed.engine)
		db.Spec.Topology = dbv1.TopologySpec{Mode: allowed.mode, Replicas: allowed.replicas, Shards: allowed.shards}
		if errs := ValidateDatabase(db, Context{}); len(errs) > 0 {
			t.Errorf("%+v: %v", allowed, errs)
		}
	}
}

func TestPodsMayBeScheduledAsKubernetesCan(t *testing.T) {
	db := good(dbv1.PostgreSQL)
	db.Spec.Scheduling = &dbv1.SchedulingSpec{
		NodeSelector:      map[string]string{"disktype": "ssd", "example.com/pool": "", "kubernetes.io/arch": "amd64"},
		PriorityClassName: "system-cluster-critical",
		Tolerations: []corev1.Toleration{
			{Operator: corev1.TolerationOpExists},
			{Key: "example.com/dedicated", Value: "databases"},
			{Key: "dedicated", Operator: corev1.TolerationOpEqual, Value: "databases", Effect: corev1.TaintEffectNoSchedule},
			{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(30))},
			{Key: "dedicated", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectPreferNoSchedule},
			{Key: "example.com/failures", Operator: corev1.TolerationOpLt, Value: "100", Effect: corev1.TaintEffectNoSchedule},
			{Key: "example.com/grade", Operator: corev1.TolerationOpGt, Value: "-5"},
		},
	}
	if errs := ValidateDatabase(db, Context{}); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestStandaloneMayBecomeReplicated(t *testing.T) {
	for _, engine := range []dbv1.Engine{dbv1.PostgreSQL, dbv1.MongoDB, dbv1.Redis} {
		before := good(engine)
		after := before.DeepCopy()
		after.Spec.Topology = dbv1.TopologySpec{Mode: dbv1.Replicated, Replicas: 3}
		if errs := ValidateDatabase(after, Context{Old: before}); len(errs) > 0 {
			t.Errorf("%s: %v", engine, errs)
		}
	}
}

func TestAVersionIsComparedInThePartsThatBothHave(t *testing.T) {
	for _, c := range []struct {
		version, current string
		refused          bool
	}{
		{"15", "15.4", false},
		{"15.4", "15", false},
		{"15.4", "15.4", false},
		{"15.10", "15.9", false},
		{"16", "15.4", false},
		{"15.3", "15.4", true},
		{"14", "15.4", true},
		{"14.9", "15", true},
		{"7.0.13", "7.0.14", true},
		{"7.0", "7.0.14", false},
		{"15", "", false},
		{"15", "unknown", false},
	} {
		if got := lower(c.version, c.current); got != c.refused {
			t.Errorf("%s after %s: refused is %v, want %v", c.version, c.current, got, c.refused)
		}
	}
}

func TestSchedulesThatComeAreAccepted(t *testing.T) {
	for _, expression := range []string{"0 2 * * *", "@daily", "@monthly", "*/5 * * * *", "0 0 29 2 *", "0 3 1 * *", "0 0 * * SUN", "15 10 * JAN-MAR MON-FRI"} {
		if _, err := ParseSchedule(expression); err != nil {
			t.Errorf("%q: %v", expression, err)
		}
	}
}

func TestWhatARuleOfEveryEngineRefusedIsNotSaidTwice(t *testing.T) {
	db := good(dbv1.PostgreSQL)
	db.Spec.EngineConfig = map[string]dbv1.ConfigValue{"ssl_x": "nonsense"}
	if errs := ValidateDatabase(db, Context{Engine: engineWithSettings{}}); len(errs) != 1 {
		t.Errorf("want one error, got %v", errs)
	}
}

func TestViolationsAreOrderedByField(t *testing.T) {
	db := good(dbv1.SQLite)
	db.Spec.Version, db.Name, db.Spec.Storage = "x", "X", nil
	errs := ValidateDatabase(db, Context{})
	for i := 1; i < len(errs); i++ {
		if errs[i-1].Field > errs[i].Field {
			t.Errorf("%s comes before %s", errs[i-1].Field, errs[i].Field)
		}
	}
	if len(errs) != 3 {
		t.Errorf("want all 3 violations, got %v", errs)
	}
}
