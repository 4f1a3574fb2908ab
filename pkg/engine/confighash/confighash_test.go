package confighash

import "testing"

func TestConfigHash(t *testing.T) {
	base := map[string]string{"postgresql.conf": "port = 5432\n", "pg_hba.conf": ""}
	// The value is part of the protocol between operator and agent: two releases must agree.
	if got, want := ConfigHash(base), "bb22cb4f5381be2c"; got != want {
		t.Errorf("ConfigHash = %q, want %q", got, want)
	}
	for name, other := range map[string]map[string]string{
		"no files":         {},
		"other content":    {"postgresql.conf": "port = 5433\n", "pg_hba.conf": ""},
		"one file fewer":   {"postgresql.conf": "port = 5432\n"},
		"content moved":    {"postgresql.conf": "", "pg_hba.conf": "port = 5432\n"},
		"border of a name": {"postgresql.con": "fport = 5432\n", "pg_hba.conf": ""},
	} {
		if ConfigHash(other) == ConfigHash(base) {
			t.Errorf("%s: the hash is the same", name)
		}
	}
}
