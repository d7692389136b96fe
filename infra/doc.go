// Package infra reads the settings and deploys what the connector needs in AWS. Its steps are those of main.go, in the
// order in which they run:
//
//   - [ReadSettings]: settings.go has a row for each setting, configuration.go reads the stack's configuration by them,
//     combinations.go checks what settings must be to each other, misspelt.go looks for names that are nearly one,
//     secrets.go says what of them may be shown, and backend.go reads the address of Pulumi Cloud
//   - [ReadLastState] and [LastState.Examine]: laststate.go reads what this stack has written before, remnants.go finds what
//     AWS has of it that the state lacks, and verdict.go decides by both what must not go on
//   - [FindSite]: site.go asks for all of this at once: database.go for the database in RDS, vpc.go for its network,
//     authorities.go for the certificate authorities of its region, trust.go for the OIDC identity provider
//   - [LastState.WarnOfDrift]: drift.go compares the two environments with what was found
//   - [PlanPreparation]: prepare.go finds out whether the database's users have to be made, and who may do it
//   - [BuildArchive], in connector.go: the package archive compiles ./lambda
//   - [DeployConnector]: connector.go registers the function, roles.go the two roles, iam.go the permission to log in to the
//     database without a password, network.go the security group, signing.go the function's code (published.go: Pulumi's),
//     keepwarm.go the regular invocation, watch.go the alarms; standing.go compares the function that stands with the state,
//     for what AWS has refused before
//   - [Connector.Contents] and [Connector.Prepare]: connector.go says what the two environments are to hold, and prepare.go has
//     the function make the database's users before they are written
//   - [Connector.Check] and [Connector.WatchSilence]: check.go has the function look at the database after that, and watch.go
//     registers who hears when nothing does any more; invocation.go is how the function is asked
//   - [Connector.ExportOutputs]: outputs.go says what the stack's outputs are, and what to do next
//
// What all of them need: names.go has the names of the resources, awsprovider.go what the AWS provider takes and gives,
// awserrors.go what its errors mean, and policy.go IAM's documents.
package infra
