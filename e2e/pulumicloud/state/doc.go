// Package state plays the part of Pulumi Cloud that keeps stacks, over HTTP, on
// one machine: the calls that the Pulumi CLI's backend of that name makes
// (backend/httpstate of github.com/pulumi/pulumi/pkg/v3, v3.259.0, whose client
// package is the contract).
//
// A [Service] keeps the users and organizations that a login asks for, stacks
// with their tags and history, and an encryption key for each stack; it runs one
// update of a stack at a time, under a lease that the client renews, and takes
// its checkpoints in each of the three forms that a client can send ([Form]),
// its events, and its end. [Service.Fail], [Service.ExpireLeases] and
// [access.Directory.Revoke] play what goes wrong. A call that is not served is
// answered by 404, named in the message, and kept in [Service.Unserved].
//
// # What is known of the real one, and from where
//
//   - The second update of a stack is refused when it starts, by 409 "Conflict: Another update is currently in
//     progress." (pulumi/pulumi issue 2073, and the troubleshooting page "Update conflicts", which says too that the
//     update which `pulumi cancel` ends fails at its next call.)
//   - A preview takes no lock, and may see the checkpoint that a running update has come to
//     (pulumi/pulumi pull request 8642, issue 1924). So an export in the midst of an update answers the checkpoint so
//     far. No page says so outright, and [Service.Export] plays the last complete state too.
//   - `pulumi cancel` of an update that is over: 409 "Conflict: The Update has already completed" (issue 5364).
//   - A lease that was not renewed: 403 "The provided update token has expired." (issue 7094).
//   - A stack that a user may not read is answered as one that is not there; where the user may read it and needs
//     more, by 403 (issue 2645).
//   - What reading includes (export, encrypt, decrypt, previews), and what needs more:
//     https://www.pulumi.com/docs/administration/access-identity/rbac/permission-sets/.
//   - Deleting a stack that has resources: 400 "Bad Request: Stack still contains resources." (client.go of the CLI).
//
// # Where it differs, or where the real one is not known
//
//   - State lives as long as the service.
//   - An update whose lease has run out is over at that moment, and its checkpoint is the stack's state. When the real
//     one takes the lock away is not documented.
//   - The words of the 403 for a stack, and those for a name that is taken but for "already exists" in them, are ours.
//   - A lease is renewed by a new token; the old one serves until it would have expired.
//   - A service that announces deltas does so from the first byte on; the real one from some size of the checkpoint.
//   - Renaming a stack rewrites its name in the state's URNs and in the owner of its secrets. The real one does it too,
//     in a way that is not documented; old links do not lead to the new name here.
//   - Policy packs, deployments, webhooks, search, the registry, the combined begin-update call and Neo are left out.
//   - Sizes and rates have no limit.
package state
