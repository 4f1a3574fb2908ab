package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/platform-io/database-operator/pkg/agent"
	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
)

// Accounts.
//
//  1. agent/redis/accounts.json on the volume is the truth, with hashes of the passwords alone. It lies
//     beside the data and not in it.
//  2. At each start the server's list of accounts is written from it: the agent's own has a password of this
//     process, and the others are as they were. The one without a name is off, so that nobody comes in with
//     it; but it has all rights, because the server replays the transactions in the append-only file with
//     them, and drops what they do not allow without a word (https://github.com/redis/redis/issues/14541).
//  3. A change goes to the volume first, then to the running server, in one command that leaves no moment
//     without a password; then a login over TCP proves it. A crash between any two is mended by doing it again.

// agentUser is the agent's own account. No other may have its name.
const agentUser = "operator"

// defaultUser is the one that clients without a name come in as.
const defaultUser = "default"

// roleApplication is what accounts are for, in spec.accounts[].roles.
const roleApplication = "application"

// applicationRights are all that is about data, and nothing that is about the server. Of the manual's
// category "dangerous" (https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/) an
// account has what reads or removes its own data, or what clients ask when they connect; not MIGRATE,
// which makes the server connect elsewhere, nor RESTORE, which takes the server's own binary form.
const applicationRights = "~* &* +@all -@admin -@dangerous +info +role +keys +sort +flushdb +flushall +swapdb"

// clientRights6 are what a client asks about its own connection, and later versions do not count as
// administration: version 6.2 knows CLIENT and ACL as a whole only.
const clientRights6 = "+client|id +client|setname +client|getname +client|reply +client|tracking +client|trackinginfo +client|caching " +
	"+client|getredir +client|info +acl|whoami"

// account is one on the volume.
type account struct {
	Username string   `json:"username"`
	Roles    []string `json:"roles"`
	// Hashes are SHA-256 of the passwords, any of which lets in.
	Hashes []string `json:"hashes"`
}

func (d *Driver) accountsFile() string {
	return filepath.Join(d.VolumeDir, "agent", "redis", "accounts.json")
}

// aclFile is the server's list.
func (d *Driver) aclFile() string { return filepath.Join(d.RunDir, "users.acl") }

// Account implements agent.Driver.
func (d *Driver) Account(ctx context.Context, wanted agent.Account) agent.AccountResult {
	if err := checkAccount(wanted); err != nil {
		return agent.AccountResult{Err: err}
	}
	if wanted.State == dbv1.AccountAbsent {
		err := d.removeAccount(ctx, wanted.Username)
		return agent.AccountResult{Applied: err == nil, Verified: err == nil, Err: err}
	}
	if err := d.setAccount(ctx, account{Username: wanted.Username, Roles: wanted.Roles, Hashes: []string{hash(wanted.Password)}}); err != nil {
		return agent.AccountResult{Err: err}
	}
	if err := d.login(ctx, wanted.Username, wanted.Password); err != nil {
		return agent.AccountResult{Applied: true, Err: err}
	}
	return agent.AccountResult{Applied: true, Verified: true}
}

// username is a name that the server's file can hold.
var username = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]*$`)

// checkAccount refuses what must not be done, whoever asks.
func checkAccount(wanted agent.Account) error {
	switch {
	case wanted.Username == agentUser:
		return errors.New("operator is the agent's own account")
	case wanted.Username == defaultUser:
		return errors.New("default is the account of clients without a name, and is off")
	case !username.MatchString(wanted.Username):
		return errors.New("its name must be letters, digits, _, -, . and @")
	case wanted.State == dbv1.AccountAbsent:
		return nil
	case !slices.Equal(wanted.Roles, []string{roleApplication}):
		return fmt.Errorf("accounts of Redis are for applications, and not for %s", strings.Join(wanted.Roles, ", "))
	case wanted.Password == "":
		return errors.New("it has no password")
	}
	return nil
}

func hash(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}

// rules are an account as the server's commands and file spell it. What was granted by hand goes.
func (a account) rules(v version) []string {
	rules := []string{"reset", "on"}
	for _, h := range a.Hashes {
		rules = append(rules, "#"+h)
	}
	rules = append(rules, strings.Fields(applicationRights)...)
	if !v.atLeast(7, 0) {
		return append(rules, strings.Fields(clientRights6)...)
	}
	return append(rules, "+sort_ro")
}

// setAccount makes an account what it must be, on the volume and in the server.
func (d *Driver) setAccount(ctx context.Context, wanted account) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.changeAccounts(func(all []account) []account {
		i, found := slices.BinarySearchFunc(all, wanted.Username, byName)
		if found {
			all[i] = wanted
			return all
		}
		return slices.Insert(all, i, wanted)
	})
	if err != nil {
		return err
	}
	args := []any{"acl", "setuser", wanted.Username}
	for _, rule := range wanted.rules(d.version) {
		args = append(args, rule)
	}
	if err := d.client.Do(ctx, args...).Err(); err != nil {
		return fmt.Errorf("set the account: %w", err)
	}
	return nil
}

// removeAccount ends its sessions, too.
func (d *Driver) removeAccount(ctx context.Context, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.changeAccounts(func(all []account) []account {
		return slices.DeleteFunc(all, func(a account) bool { return a.Username == name })
	})
	if err != nil {
		return err
	}
	if err := d.client.Do(ctx, "acl", "deluser", name).Err(); err != nil {
		return fmt.Errorf("remove the account: %w", err)
	}
	return nil
}

func byName(a account, name string) int { return strings.Compare(a.Username, name) }

// changeAccounts changes what is on the volume.
func (d *Driver) changeAccounts(edit func([]account) []account) error {
	all, err := d.readAccounts()
	if err != nil {
		return err
	}
	content, err := json.MarshalIndent(edit(all), "", "  ")
	if err != nil {
		return fmt.Errorf("encode the accounts: %w", err)
	}
	_, err = agent.ReplaceFile(d.accountsFile(), content)
	return err
}

// readAccounts are those on the volume, in the order of their names.
func (d *Driver) readAccounts() ([]account, error) {
	content, err := os.ReadFile(d.accountsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the accounts: %w", err)
	}
	var all []account
	if err := json.Unmarshal(content, &all); err != nil {
		return nil, fmt.Errorf("read the accounts in %s: %w", d.accountsFile(), err)
	}
	return all, nil
}

// ownACL are the accounts that every server has.
func (d *Driver) ownACL() string {
	return aclLine(defaultUser, []string{"reset", "off", "~*", "&*", "+@all"}) +
		aclLine(agentUser, []string{"reset", "on", "#" + hash(d.password), "~*", "&*", "+@all"})
}

// writeACLFile writes the server's list of accounts.
func (d *Driver) writeACLFile() error {
	all, err := d.readAccounts()
	if err != nil {
		return err
	}
	var list strings.Builder
	list.WriteString(d.ownACL())
	for _, a := range all {
		list.WriteString(aclLine(a.Username, a.rules(d.version)))
	}
	_, err = agent.ReplaceFile(d.aclFile(), []byte(list.String()))
	return err
}

func aclLine(name string, rules []string) string {
	return "user " + name + " " + strings.Join(rules, " ") + "\n"
}
