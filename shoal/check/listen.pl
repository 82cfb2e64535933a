# Runs on the requester: takes connections at the given addresses and ports and closes them, until standard input ends.
# Arguments: the mark, after how many seconds to end in any case, then address and port in pairs.
# perl, because it is in Debian's base system; python3 need not be there yet.
use strict;
use IO::Select;
use IO::Socket::IP;
my $mark = shift;
alarm shift;
$| = 1;
my %ours;
while (my ($address, $port) = splice @ARGV, 0, 2) {
    my $socket = IO::Socket::IP->new(LocalHost => $address, LocalPort => $port, Listen => 16, ReuseAddr => 1);
    print "$mark $port ", ($socket ? "listens" : "taken"), "\n";
    $ours{$socket} = $socket if $socket;
}
print "$mark ready\n";
my $all = IO::Select->new(\*STDIN, values %ours);
while (1) {
    for my $one ($all->can_read) {
        if ($one == \*STDIN) {
            exit unless sysread STDIN, my $rest, 1;
        }
        elsif (my $caller = $one->accept) {
            close $caller;
        }
    }
}
