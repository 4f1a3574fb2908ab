package validation

import (
	"strings"
	"testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

func TestUsernameIsTheRuleOfTheSpec(t *testing.T) {
	spec := rootSchema(crds(t)["Database"]).Properties["spec"]
	auth := spec.Properties["auth"]
	schema := auth.Properties["username"]
	if rule := ruleOf("username-form").CEL; !strings.Contains(rule, "'"+username.String()+"'") || *schema.MaxLength != usernameLength {
		t.Errorf("the rule says %s, and the schema at most %d characters", rule, *schema.MaxLength)
	}
	for name, want := range map[string]string{
		"app": "", "_a-B9": "", strings.Repeat("a", 61): "",
		"": "at most 61", "9a": "a letter or _", "a.b": "a letter or _", "a\n": "a letter or _", "\xff": "a letter or _",
		strings.Repeat("a", 62): "at most 61", "postgres": "for itself", "pg_monitor": "for itself",
	} {
		got := Username(dbv1.PostgreSQL, name)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: %q", name, got)
		}
	}
	if got := Username(dbv1.Redis, "pg_monitor"); got != "" {
		t.Errorf("pg_ is nothing to Redis: %q", got)
	}
}
