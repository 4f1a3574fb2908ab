package status

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	dbv1 "github.com/platform-io/database-operator/pkg/apis/database/v1"
	"github.com/platform-io/database-operator/pkg/naming"
	"github.com/platform-io/database-operator/pkg/plural"
)

// The parts of a report that join objects of several kinds.

func (p *page) instances(report *Report) {
	if report.unread(partInstances) {
		return // the hints say so
	}
	p.section("Instances")
	if len(report.Instances) == 0 {
		p.message(2, cell{"none yet", dim})
		return
	}
	pods := map[string]*corev1.Pod{}
	for i := range report.Pods {
		pods[report.Pods[i].Name] = &report.Pods[i]
	}
	lease := readLease(report)
	var rows [][]cell
	for i := range report.Instances {
		instance := &report.Instances[i]
		rows = append(rows, append(instanceRow(instance, pods[instance.Name]), lease.candidate(instance)))
	}
	p.table([]string{"NAME", "ROLE", "PHASE", "READY", "EPOCH", "LAG", "TIMELINE", "VERSION", "NODE", "RESTARTS", "STARTS", "CANDIDATE"}, rows)
	for _, remark := range lease.remarks(report) {
		p.message(4, text(remark))
	}
	for i := range report.Instances {
		instance := &report.Instances[i]
		for _, remark := range remarks(instance, pods[instance.Name], report.unread(partPods)) {
			p.message(4, text(instance.Name+": "+remark))
		}
	}
}

func instanceRow(instance *dbv1.DatabaseInstance, pod *corev1.Pod) []cell {
	is := &instance.Status
	row := []cell{
		text(instance.Name), text(string(is.Role)), instancePhase(is.Phase), instanceReady(is, pod),
		text(number(is.Epoch)), text(""), text(number(is.Timeline)), text(is.ServerVersion), text(""), text(""), text(number(is.EngineStarts)),
	}
	if is.LagBytes != nil {
		row[5] = text(size(*is.LagBytes))
	}
	if pod != nil {
		row[8] = text(pod.Spec.NodeName)
		row[9] = text(strconv.Itoa(int(restarts(pod))))
	}
	return row
}

func instancePhase(phase dbv1.InstancePhase) cell {
	switch phase {
	case dbv1.InstanceFailed:
		return cell{string(phase), red}
	case dbv1.InstanceRunning:
		return text(string(phase))
	case "":
		return cell{"no report", yellow}
	default:
		return cell{string(phase), yellow}
	}
}

// instanceReady is the agent's word, as far as the pod that now exists stands behind it.
func instanceReady(is *dbv1.DatabaseInstanceStatus, pod *corev1.Pod) cell {
	switch {
	case !is.Ready:
		return cell{markBad + " no", red}
	case pod != nil && (is.PodUID != string(pod.UID) || !podReady(pod)):
		return cell{markBad + " no", red}
	default:
		return cell{markGood + " yes", green}
	}
}

// remarks are what a row has no room for.
func remarks(instance *dbv1.DatabaseInstance, pod *corev1.Pod, podsUnread bool) []string {
	var all []string
	is := &instance.Status
	if is.Message != "" {
		all = append(all, is.Message)
	}
	if instance.Spec.Fenced {
		all = append(all, "fenced by a person: its engine stays down")
	}
	if len(is.PendingRestart) > 0 {
		all = append(all, "settings that wait for a restart: "+strings.Join(is.PendingRestart, ", "))
	}
	if op := is.Operation; op != nil && op.Phase != dbv1.OperationSucceeded {
		all = append(all, strings.TrimSuffix("operation "+op.ID+" "+op.Phase+": "+op.Message, ": "))
	}
	if archive := is.Archive; archive != nil && archive.FailingSince != nil {
		all = append(all, fmt.Sprintf("nothing could be archived since %s; %s to go",
			archive.FailingSince.UTC().Format("2006-01-02 15:04 UTC"), plural.Of(archive.Backlog, "segment")))
	}
	switch {
	case pod != nil:
		all = append(all, podRemarks(is, pod)...)
	case !podsUnread:
		all = append(all, "there is no pod")
	}
	return all
}

func podRemarks(is *dbv1.DatabaseInstanceStatus, pod *corev1.Pod) []string {
	var all []string
	if is.PodUID != "" && is.PodUID != string(pod.UID) {
		all = append(all, "the report is from an earlier pod")
	}
	if pod.DeletionTimestamp != nil {
		all = append(all, "the pod is being stopped")
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			all = append(all, "the pod is not scheduled: "+c.Message)
		}
	}
	return append(all, containerRemarks(pod)...)
}

func containerRemarks(pod *corev1.Pod) []string {
	var all []string
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if waiting := c.State.Waiting; waiting != nil && waiting.Reason != "PodInitializing" && waiting.Reason != "ContainerCreating" {
			all = append(all, strings.TrimSuffix("container "+c.Name+" waits, "+waiting.Reason+": "+waiting.Message, ": "))
		}
		if last := c.LastTerminationState.Terminated; last != nil && last.Reason == "OOMKilled" {
			all = append(all, "container "+c.Name+" was killed because it ran out of memory")
		}
	}
	return all
}

func podReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func restarts(pod *corev1.Pod) int32 {
	var n int32
	for i := range pod.Status.ContainerStatuses {
		n += pod.Status.ContainerStatuses[i].RestartCount
	}
	return n
}

func (p *page) storage(report *Report) {
	if len(report.Claims) == 0 {
		return
	}
	used := map[string]*dbv1.InstanceStorageStatus{}
	for i := range report.Instances {
		used[naming.Claim(report.Instances[i].Name)] = report.Instances[i].Status.Storage
	}
	claims := slices.Clone(report.Claims)
	slices.SortFunc(claims, func(a, b corev1.PersistentVolumeClaim) int { return strings.Compare(a.Name, b.Name) })
	var rows [][]cell
	for i := range claims {
		rows = append(rows, claimRow(&claims[i], used[claims[i].Name]))
	}
	p.section("Storage")
	p.table([]string{"CLAIM", "PHASE", "SIZE", "WANTED", "CLASS", "USED", "OF", "FULL"}, rows)
}

// claimRow shows the wanted size only while it is not the size.
func claimRow(claim *corev1.PersistentVolumeClaim, used *dbv1.InstanceStorageStatus) []cell {
	row := []cell{text(claim.Name), text(string(claim.Status.Phase)), text(""), text(""), text(""), text(""), text(""), text("")}
	if claim.Status.Phase != corev1.ClaimBound {
		row[1].style = red
	}
	want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if !have.IsZero() {
		row[2] = text(have.String())
	}
	if want.Cmp(have) != 0 {
		row[3] = cell{want.String(), yellow}
	}
	if claim.Spec.StorageClassName != nil {
		row[4] = text(*claim.Spec.StorageClassName)
	}
	if used == nil || used.CapacityBytes == 0 {
		return row
	}
	percent := used.UsedBytes * 100 / used.CapacityBytes
	row[5], row[6], row[7] = text(size(used.UsedBytes)), text(size(used.CapacityBytes)), text(fmt.Sprintf("%d%%", percent))
	switch {
	case percent >= 90:
		row[7].style = red
	case percent >= 80:
		row[7].style = yellow
	}
	return row
}

func (p *page) credentials(report *Report) {
	db := report.Database
	if db.Status.CredentialsSecret == "" && db.Status.RotationStatus == nil {
		return
	}
	p.section("Credentials")
	if secret := db.Status.CredentialsSecret; secret != "" {
		p.field("Secret", text(secret))
		// Not wrapped: it is there to be copied.
		p.line(cell{"  Read it", dim}, text(fmt.Sprintf(`      kubectl get secret %s -n %s -o go-template='{{.data.uri | base64decode}}{{"\n"}}'`, secret, db.Namespace)))
	}
	for _, line := range accounts(report) {
		p.field("Account", line)
	}
	p.rotation(db.Status.RotationStatus)
}

// tally is on how many instances an account must be, and is; copied when replicas have it with their data.
type tally struct {
	wanted, good int
	copied       bool
}

func accountLine(name string, t tally, problem string) cell {
	where := fmt.Sprintf("logs in on %d of %s", t.good, plural.Of(t.wanted, "instance"))
	switch {
	case problem != "":
		return cell{fmt.Sprintf("%s %s, %s (%s)", markBad, name, where, problem), red}
	case t.wanted == 0:
		return cell{fmt.Sprintf("%s %s, not known: no primary reports", markUnknown, name), yellow}
	case t.copied:
		return text(fmt.Sprintf("%s %s, logs in on the primary; replicas have it with its data", markGood, name))
	}
	return text(fmt.Sprintf("%s %s, %s", markGood, name, where))
}

// accounts says for each account whether it is as it must be. That of a primary is its replicas' too.
func accounts(report *Report) []cell {
	tallies, problems := map[string]*tally{}, map[string]string{}
	for i := range report.Instances {
		instance := &report.Instances[i]
		is := map[string]dbv1.InstanceAccountStatus{}
		for _, account := range instance.Status.Accounts {
			is[account.Username] = account
		}
		for _, want := range instance.Spec.Accounts {
			if want.State == dbv1.AccountAbsent {
				continue
			}
			t := tallies[want.Username]
			if t == nil {
				t = &tally{}
				tallies[want.Username] = t
			}
			if _, said := is[want.Username]; !said && instance.Status.Role == dbv1.RoleReplica {
				// A replica's accounts come with its data.
				t.copied = true
				continue
			}
			t.wanted++
			if problem := accountProblem(want, is[want.Username]); problem != "" {
				problems[want.Username] = instance.Name + ": " + problem
				continue
			}
			t.good++
		}
	}
	var lines []cell
	for name, t := range tallies {
		lines = append(lines, accountLine(name, *t, problems[name]))
	}
	slices.SortFunc(lines, func(a, b cell) int { return strings.Compare(a.text, b.text) })
	return lines
}

func accountProblem(want dbv1.InstanceAccount, is dbv1.InstanceAccountStatus) string {
	problem := ""
	switch {
	case !is.Applied:
		problem = "not applied"
	case is.PasswordVersion != want.PasswordVersion:
		problem = "has an older password"
	case !is.Verified:
		problem = "applied, but could not log in"
	default:
		return ""
	}
	if is.Message != "" {
		problem += ": " + is.Message
	}
	return problem
}

func (p *page) rotation(is *dbv1.RotationStatus) {
	if is == nil {
		return
	}
	line := cell{text: is.Phase}
	if is.Phase == "Blocked" || is.Phase == "RolledBack" {
		line.style = red
	}
	if is.ActiveUser != "" {
		line.text += ", published login " + is.ActiveUser
	}
	p.field("Rotation", line)
	if is.LastRotation != nil {
		p.field("", text("last "+p.when(is.LastRotation)))
	}
	if is.NextRotation != nil {
		p.field("", text("next "+p.when(is.NextRotation)))
	}
	if is.PreviousValidUntil != nil {
		p.field("", text("the previous login is valid until "+p.when(is.PreviousValidUntil)))
	}
}

func (p *page) backups(report *Report) {
	db := report.Database
	spec := db.Spec.Backup
	scheduled := spec != nil && spec.Enabled
	if !scheduled && db.Status.LastBackup == nil && report.unread(partBackups) {
		return // the hints say so
	}
	if !scheduled && db.Status.LastBackup == nil && len(report.Backups) == 0 {
		p.section("Backups")
		p.message(2, cell{"none: spec.backup is not enabled", dim})
		return
	}
	p.section("Backups")
	if c := meta.FindStatusCondition(db.Status.Conditions, dbv1.ConditionBackupConfigured); c != nil && c.Reason == dbv1.ReasonNotSupported {
		p.message(2, cell{"none: " + c.Message, yellow})
		p.newestBackups(report.Backups)
		return
	}
	schedule := cell{"not scheduled", yellow}
	if scheduled {
		schedule = text(fmt.Sprintf("%q, %s", spec.Schedule, orDefault(spec.TimeZone, dbv1.DefaultTimeZone)))
	}
	p.field("Schedule", schedule)
	p.field("Last", p.backup(db.Status.LastBackup, "none succeeded yet"))
	p.field("Verified", p.backup(db.Status.LastVerifiedBackup, "none was restored as a test yet"))
	if first := db.Status.FirstRecoverablePoint; first != nil {
		p.field("Recoverable", text("from "+p.when(first)))
	}
	p.newestBackups(report.Backups)
}

func (p *page) backup(ref *dbv1.BackupReference, none string) cell {
	if ref == nil {
		return cell{none, yellow}
	}
	return text(ref.Name + ", " + p.when(ref.Time))
}

// newestBackups lists the newest backups that are under way or failed after the newest success.
func (p *page) newestBackups(backups []dbv1.DatabaseBackup) {
	newest := slices.Clone(backups)
	slices.SortFunc(newest, func(a, b dbv1.DatabaseBackup) int {
		return b.CreationTimestamp.Compare(a.CreationTimestamp.Time)
	})
	for i := range newest {
		backup := &newest[i]
		if backup.Status.Phase == dbv1.BackupSucceeded || i == 3 {
			return
		}
		began := metav1.NewTime(backup.CreationTimestamp.Time)
		line := cell{strings.TrimSuffix(fmt.Sprintf("%s, begun %s: %s", backup.Name, p.ago(&began), backup.Status.Message), ": "), yellow}
		if backup.Status.Phase == dbv1.BackupFailed {
			line.style = red
		}
		p.field(orDefault(string(backup.Status.Phase), string(dbv1.BackupPending)), line)
	}
}

// number is a number, and nothing for zero: a fact that the engine does not have.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func orDefault(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
