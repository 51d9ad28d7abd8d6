// Package awsconfig reads the two files in which the AWS tools keep profiles:
// ~/.aws/config and ~/.aws/credentials. Its rules are those of botocore, which the
// AWS command line is made of, and those of Python, which botocore reads the files
// with. They differ from what other programs call INI:
//
//   - A comment is a whole line. Behind a value, # and ; belong to it, as quotes
//     do: secrets may hold any character.
//   - A key ends at the first = or :, its case does not matter.
//   - A line that is indented more than its key goes on with the value. A value
//     that has nothing on its first line holds settings of its own.
//   - A section or a key that stands twice makes the file invalid.
//   - Every section of the file has the settings of [DEFAULT], in capitals.
//
// The config file calls profiles [profile NAME], with quotes around a name with
// blanks, and one [default]; the credentials file calls them by their names
// alone. The package reads files and nothing else: to ask for credentials with
// what they say is for its user.
package awsconfig
