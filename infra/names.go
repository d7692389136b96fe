package infra

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Logical names, by which the engine knows what is registered. They stand in the states of all who have deployed the
// connector, and so never change: to the engine another name is another resource, which it creates, and deletes the one of the
// old name. Those of the environments are in the package environments.
const (
	logGroupResource           = "logs"
	executionRoleResource      = "executionRole"
	executionPolicyResource    = "executionPolicy"
	managingLoginResource      = "managingLogin"
	securityGroupResource      = "securityGroup"
	toDatabaseResource         = "toDatabase"
	toNameServerResource       = "toNameServer-" // and protocol and address
	fromConnectorResource      = "fromConnector"
	bucketResource             = "archives"
	bucketVersioningResource   = "archivesVersioning"
	bucketAccessResource       = "archivesPublicAccessBlock"
	bucketEncryptionResource   = "archivesEncryption"
	bucketPolicyResource       = "archivesPolicy"
	archiveResource            = "archive"
	signingProfileResource     = "signingProfile"
	signingJobResource         = "signingJob"
	codeSigningResource        = "codeSigningConfig"
	functionResource           = "function"
	oidcProviderResource       = "oidcProvider"
	invocationRoleResource     = "invocationRole"
	invocationPolicyResource   = "invocationPolicy"
	keepWarmResource           = "keepWarm"
	keepWarmPermissionResource = "keepWarmPermission"
	keepWarmTargetResource     = "keepWarmTarget"
	failedFilterResource       = "failedFilter"
	warningFilterResource      = "warningFilter"
	checkedFilterResource      = "checkedFilter"
	failedAlarmResource        = "failedAlarm"
	errorsAlarmResource        = "errorsAlarm"
	silenceAlarmResource       = "silenceAlarm"
)

// names are fixed when they are first given, since ARNs made of them stand in the users' documents: a
// stack that is renamed keeps them.
type names struct {
	function       string
	invocationRole string
	executionRole  string
	logGroup       string
	rule           string
	archive        string // the object's key
}

// Names of the roles' inline policies.
const (
	executionPolicyName  = "connector"
	managingLoginName    = "database-login"
	invocationPolicyName = "invoke"
)

var notInNames = regexp.MustCompile(`[^A-Za-z0-9-]+`)

func newNames(s *Settings, last *LastState) names {
	sum := sha256.Sum256([]byte(strings.Join([]string{s.Organization, s.Project, s.Stack, s.Region}, "/")))
	hash := hex.EncodeToString(sum[:4])
	readable := strings.Trim(notInNames.ReplaceAllString(s.Project+"-"+s.Stack, "-"), "-")
	// What is left of a renamed stack, of which a part was destroyed, shows what the rest was called.
	function := cmp.Or(text(last.outputs(functionResource).Name), last.function)
	invocationRole := cmp.Or(text(last.outputs(invocationRoleResource).Name), last.invocationRole)
	executionRole := text(last.outputs(executionRoleResource).Name)
	for _, left := range []struct{ name, infix string }{{function, "-"}, {invocationRole, "-invoke-"}, {executionRole, "-run-"}} {
		if i := strings.LastIndex(left.name, left.infix); i > 0 && len(left.name)-i-len(left.infix) == len(hash) {
			readable, hash = left.name[:i], left.name[i+len(left.infix):]
			break
		}
	}
	name := func(suffix string) string {
		suffix += "-" + hash
		// 64 characters is the most of a role's name and of a function's.
		return strings.TrimRight(readable[:min(len(readable), 64-len(suffix))], "-") + suffix
	}
	function = cmp.Or(function, name(""))
	return names{
		function:       function,
		invocationRole: cmp.Or(invocationRole, name("-invoke")),
		executionRole:  cmp.Or(executionRole, name("-run")),
		logGroup:       cmp.Or(text(last.outputs(logGroupResource).Name), "/aws/lambda/"+function),
		rule:           cmp.Or(text(last.outputs(keepWarmResource).Name), function),
		archive:        archiveKey(last),
	}
}
