package controller

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/apis/database/v1/validation"
	"github.com/platform-io/database-operator/pkg/engine"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/resources"
)

// The master copy of the passwords is <db>-accounts; <db>-credentials derives from it. Both have
// no owner reference: they outlive the Database where its deletion policy says so. No cache holds
// their content; they are read by name, here alone, when there is something to write.

// passwordBytes make 32 URL-safe characters; versionBytes tell passwords apart.
const (
	passwordBytes = 24
	versionBytes  = 9
)

// createAccounts makes the master copy. One that exists already is as good, and is looked for first: the informer
// does not see one without labels. It creates and never overwrites: of two operators one fails, and finds the
// other's when it tries again.
func (c *Controller) createAccounts(ctx context.Context, db *dbv1.Database, a engine.CreateAccounts) error {
	secrets := c.clients.Kube.CoreV1().Secrets(db.Namespace)
	live, err := secrets.Get(ctx, naming.Accounts(db.Name), metav1.GetOptions{})
	if err == nil {
		return c.relabelAccounts(ctx, db, a, live)
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	login, err := c.chosenLogin(ctx, db, a.Username)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: naming.Accounts(db.Name), Namespace: db.Namespace, Labels: resources.Labels(db),
			Annotations: map[string]string{
				naming.AnnotationDatabaseUID:  string(db.UID),
				naming.AnnotationUsername:     login.Username,
				naming.AnnotationDatabaseName: cmp.Or(a.Database, login.Username),
			},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{
			engine.AccountsUsernameKey: []byte(login.Username),
			engine.AccountsPasswordKey: []byte(login.Password),
		},
	}
	written, err := secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: naming.FieldManager})
	if err != nil {
		return err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), c.kinds["Secret"].resource, written)
	return nil
}

// relabelAccounts makes a master copy that lost its labels visible again, and says again whose it is.
func (c *Controller) relabelAccounts(ctx context.Context, db *dbv1.Database, a engine.CreateAccounts, live *corev1.Secret) error {
	if live.Annotations[naming.AnnotationDatabaseUID] == string(db.UID) {
		mended, err := c.mendAccounts(ctx, db, live)
		if err != nil {
			return err
		}
		live = mended
	}
	if len(live.Data[engine.AccountsPasswordKey]) == 0 {
		return &conflictError{resource: "secrets", name: live.Name, owner: "somebody else (it has no key " + engine.AccountsPasswordKey + ")"}
	}
	login, err := loginIn(db, live, engine.AccountsUsernameKey, engine.AccountsPasswordKey)
	if err != nil {
		return err
	}
	username := cmp.Or(live.Annotations[naming.AnnotationUsername], login.Username)
	database := cmp.Or(live.Annotations[naming.AnnotationDatabaseName], a.Database, username)
	return c.annotate(ctx, db, engine.Annotate{
		Resource: engine.Secrets, Name: live.Name, UID: live.UID,
		Annotations: map[string]string{naming.AnnotationUsername: username, naming.AnnotationDatabaseName: database},
		Labels:      naming.SelectorLabels(db.Name),
	})
}

// chosenLogin is the one in a credentials Secret that a user made beforehand, or that outlived
// its master copy; else a new one. A Secret that lacks a key is waited for: its owner may yet say who it is to be.
func (c *Controller) chosenLogin(ctx context.Context, db *dbv1.Database, username string) (engine.Login, error) {
	live, err := c.clients.Kube.CoreV1().Secrets(db.Namespace).Get(ctx, naming.Credentials(db.Name), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return engine.Login{}, err
	}
	if err == nil && len(live.Data["username"]) > 0 && len(live.Data["password"]) > 0 {
		return loginIn(db, live, "username", "password")
	}
	if err == nil && foreignOwner(db, live) != "" {
		conflict := &conflictError{resource: "secrets", name: live.Name, owner: foreignOwner(db, live)}
		if metav1.GetControllerOf(live) == nil {
			conflict.remedy = "give it both keys, username and password, and the account is made with them; or "
		}
		return engine.Login{}, conflict
	}
	return engine.Login{Username: username, Password: random(passwordBytes)}, nil
}

// random is URL-safe text.
func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// addReplicationPassword adds the password of replicas to a master copy of accounts that lacks it. One
// that is there stays, whoever wrote it, under a new version: agents then set it again. The write fails
// when somebody else was there between the look and the write.
func (c *Controller) addReplicationPassword(ctx context.Context, db *dbv1.Database) error {
	secrets := c.clients.Kube.CoreV1().Secrets(db.Namespace)
	live, err := secrets.Get(ctx, naming.Accounts(db.Name), metav1.GetOptions{})
	if err != nil {
		return err
	}
	password := live.Data[engine.ReplicationPasswordKey]
	if len(password) == 0 {
		password = []byte(random(passwordBytes))
	}
	patch, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{
			"name": live.Name, "uid": live.UID, "resourceVersion": live.ResourceVersion,
			"annotations": map[string]string{naming.AnnotationReplicationVersion: random(versionBytes)},
		},
		"data": map[string][]byte{engine.ReplicationPasswordKey: password},
	})
	if err != nil {
		return err
	}
	written, err := secrets.Patch(ctx, live.Name, types.ApplyPatchType, patch, metav1.PatchOptions{FieldManager: naming.FieldManager, Force: new(true)})
	if err != nil {
		return err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), c.kinds["Secret"].resource, written)
	return nil
}

// credentialsError: somebody made a Secret whose content cannot be used.
type credentialsError struct {
	secret, key, rule string
}

func (e *credentialsError) Error() string {
	return fmt.Sprintf("Secret %s: the value of key %s %s; correct the Secret, or delete it for an account with a new password", e.secret, e.key, e.rule)
}

// loginIn is the login in a Secret, which must be one that the engine, and our own objects, can hold.
// What it is appears in no message.
func loginIn(db *dbv1.Database, secret *corev1.Secret, usernameKey, passwordKey string) (engine.Login, error) {
	login := engine.Login{Username: string(secret.Data[usernameKey]), Password: string(secret.Data[passwordKey])}
	if rule := validation.Username(db.Spec.Engine, login.Username); rule != "" {
		return engine.Login{}, &credentialsError{secret: secret.Name, key: usernameKey, rule: rule}
	}
	if !isText(login.Password) {
		return engine.Login{}, &credentialsError{secret: secret.Name, key: passwordKey, rule: "must be text in UTF-8, without zero bytes"}
	}
	return login, nil
}

// isText is true for what a password can be.
func isText(password string) bool {
	return utf8.ValidString(password) && !strings.ContainsRune(password, 0)
}

// mendAccounts puts back what somebody took from the master copy: the name of the account that was made, and the
// password. It returns what it wrote, else what it got.
func (c *Controller) mendAccounts(ctx context.Context, db *dbv1.Database, accounts *corev1.Secret) (*corev1.Secret, error) {
	data, annotations := map[string][]byte{}, map[string]string{}
	if made := accounts.Annotations[naming.AnnotationUsername]; made != "" && made != string(accounts.Data[engine.AccountsUsernameKey]) {
		data[engine.AccountsUsernameKey] = []byte(made)
	}
	if len(accounts.Data[engine.AccountsPasswordKey]) == 0 {
		password, err := c.lastPassword(ctx, db)
		if err != nil {
			return nil, err
		}
		data[engine.AccountsPasswordKey] = []byte(password)
		// This write owns the keys again, as the one did that made the account: agents that never saw the Secret
		// in between must not take this password for that one.
		annotations[naming.AnnotationPasswordVersion] = random(versionBytes)
	}
	if len(data) == 0 {
		return accounts, nil
	}
	// No server-side apply: it would take away the password of replicas, which another one applied.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": accounts.UID, "resourceVersion": accounts.ResourceVersion, "annotations": annotations},
		"data":     data,
	})
	if err != nil {
		return nil, err
	}
	written, err := c.clients.Kube.CoreV1().Secrets(db.Namespace).
		Patch(ctx, accounts.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: naming.FieldManager})
	if err != nil {
		return nil, err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), c.kinds["Secret"].resource, written)
	return written, nil
}

// lastPassword is the published one, the last copy of what the master copy lost, whatever became of the other keys
// of its Secret; else a new one.
func (c *Controller) lastPassword(ctx context.Context, db *dbv1.Database) (string, error) {
	live, err := c.clients.Kube.CoreV1().Secrets(db.Namespace).Get(ctx, naming.Credentials(db.Name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return random(passwordBytes), nil
	}
	if err != nil {
		return "", err
	}
	if owner := foreignOwner(db, live); owner != "" {
		return "", &conflictError{resource: "secrets", name: live.Name, owner: owner}
	}
	if password := string(live.Data["password"]); password != "" && isText(password) {
		return password, nil
	}
	return random(passwordBytes), nil
}

// publishCredentials derives the credentials Secret from the master copy, in one atomic write.
func (c *Controller) publishCredentials(ctx context.Context, db *dbv1.Database, p engine.PublishCredentials) error {
	secrets := c.clients.Kube.CoreV1().Secrets(db.Namespace)
	accounts, err := secrets.Get(ctx, naming.Accounts(db.Name), metav1.GetOptions{})
	if err != nil {
		return err
	}
	mended, err := c.mendAccounts(ctx, db, accounts)
	if err != nil || mended != accounts {
		// The source that was planned is the Secret before; the watch event brings the sync that publishes.
		return err
	}
	login, err := loginIn(db, accounts, engine.AccountsUsernameKey, engine.AccountsPasswordKey)
	if err != nil {
		return err
	}
	login.Database = p.Database
	name := naming.Credentials(db.Name)
	live, err := secrets.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return err
	default:
		if owner := foreignOwner(db, live); owner != "" {
			return &conflictError{resource: "secrets", name: name, owner: owner}
		}
	}
	content := c.options.Engines[db.Spec.Engine].Binding(db, login)
	data := make(map[string][]byte, len(content))
	for key, value := range content {
		data[key] = []byte(value)
	}
	patch, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret",
		"metadata": map[string]any{
			"name": name, "labels": resources.Labels(db),
			"annotations": map[string]string{naming.AnnotationDatabaseUID: string(db.UID), naming.AnnotationSource: p.Source},
		},
		"data": data,
	})
	if err != nil {
		return err
	}
	written, err := secrets.Patch(ctx, name, types.ApplyPatchType, patch, metav1.PatchOptions{FieldManager: naming.FieldManager, Force: new(true)})
	if err != nil {
		return err
	}
	c.consistency.Wrote(cache.MetaObjectToName(db), c.kinds["Secret"].resource, written)
	return nil
}

// foreignOwner names whom a credentials Secret belongs to, "" when it is ours or was made for us:
// a user's own has a username and a password.
func foreignOwner(db *dbv1.Database, secret *corev1.Secret) string {
	if owner := metav1.GetControllerOf(secret); owner != nil {
		return owner.Kind + " " + owner.Name
	}
	isWhole := len(secret.Data["username"]) > 0 && len(secret.Data["password"]) > 0
	if isWhole || secret.Labels[naming.LabelManagedBy] == naming.ManagedBy || engine.IsOurs(db, secret) {
		return ""
	}
	return "somebody else (it has no username and password)"
}
