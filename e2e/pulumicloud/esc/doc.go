// Package esc plays the part of Pulumi Cloud that keeps environments, Pulumi ESC, over HTTP, on one machine: the calls
// that the `pulumi env` commands make (cmd/esc/cli/client of github.com/pulumi/pulumi/pkg/v3, v3.259.0, is their
// contract), and those of the pulumiservice provider (v1.3.0) for environments, schedules, webhooks and teams' permissions.
//
// A [Service] evaluates, checks, encrypts and rotates with the evaluator that the CLI itself is built from. What Pulumi
// Cloud adds to the evaluator stands here:
//
//   - aws-login ([awsLogin]) lets a role be assumed only where the role's trust policy and the account's OIDC provider
//     allow it, as AWS STS decides;
//   - the postgres and mysql rotators ([databaseRotator]) change two users in turn
//     (https://www.pulumi.com/docs/esc/concepts/rotators/) and invoke the connector's Lambda function with that login.
//
// [Service.Fail], [Service.Protect], [Service.DeleteTeam], [Service.DeleteWebhooks] and [access.Directory.Revoke] play what goes wrong. A call that is
// not served is answered by 404 and named in the message.
//
// # Where it differs, or where the real one is not known
//
//   - Environments live as long as the service, and one key encrypts them all. A deleted one cannot be restored.
//   - A schedule is kept, and rotates nothing. Its limits are those that the CLI's help tells.
//   - The token of a login has no signature, since the decision is taken here, from the policies that IAM holds. policyArns
//     and static credentials are refused.
//   - A login by a role or an identity provider that is new is refused as often as [Options.NewLogins] says. AWS
//     names no time.
//   - Other providers and rotators, and a database without a connector, are unknown, and said to be.
//   - A rotation is over when its call is answered. A second one in the midst of it is refused by 409, and
//     an edit in the midst of it stays, with the rotated state written into it. No page that we know says what the real
//     one does then.
//   - "latest" is the only tag of a revision. Drafts, approvals, clones, referrers and audit logs are left out.
//   - A webhook hears of rotations that failed, at once and once. What the message says of the rotation is not documented, nor is
//     whether an environment that cannot be evaluated counts as one: here it does not.
//   - The words of a refusal are ours, but for the status and what the CLI and the provider look for in them.
package esc
