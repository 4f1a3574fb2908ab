package agent

import (
	"context"
	"errors"
	"fmt"
	"testing"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// accountDriver answers every account in the same way.
type accountDriver struct {
	Driver
	err error
}

func (d accountDriver) Account(context.Context, Account) AccountResult {
	return AccountResult{Err: d.err}
}

// A switchover calls the account's step off; what that says would stay with the replica that the primary becomes.
func TestAnAccountIsNotJudgedByAStepThatWasCalledOff(t *testing.T) {
	for err, want := range map[error]int{
		fmt.Errorf("log in: %w", context.Canceled): 0,
		errors.New("no such role"):                 1,
	} {
		a := New(Options{Driver: accountDriver{err: err}})
		spec := &dbv1.DatabaseInstanceSpec{Accounts: []dbv1.InstanceAccount{{Username: "app", State: dbv1.AccountAbsent}}}
		m := &memory{}
		m.accounts = map[string]accountFacts{}
		update, failed := a.account(spec, "app")(t.Context())
		if update(m); !errors.Is(failed, err) || len(m.accounts) != want {
			t.Errorf("%v: %v, and the accounts are %v", err, failed, m.accounts)
		}
	}
}
