#!/bin/sh
# perl: hashes, strings and sorting; a fork with output through a pipe.
. "$(dirname "$0")/../lib.sh"
need_library
need perl
cat >"$scratch/work.pl" <<'PERL'
use strict;
use Digest::MD5 qw(md5_hex);
my ($seed, %by_key, @rows) = (42);
sub rnd { $seed = ($seed * 1103515245 + 12345) % 2147483648; return int($seed / 65536) % $_[0] }
for my $i (1 .. 150000) {
    my $key = join('-', rnd(1000), rnd(1000), $i % 97);
    push @{$by_key{$key}}, 'v' x rnd(300) . $i;
    push @rows, [$i, $key];
}
my $sum = '';
$sum = md5_hex($sum . $_ . join(',', @{$by_key{$_}})) for sort keys %by_key;
print "$sum ", scalar(keys %by_key), "\n";
delete $by_key{$_->[1]} for grep { $_->[0] % 3 == 0 } @rows;
@rows = sort { $a->[1] cmp $b->[1] || $a->[0] <=> $b->[0] } @rows;
print md5_hex(join('|', map { "$_->[0]$_->[1]" } @rows)), ' ', scalar(keys %by_key), "\n";
open(my $child, '-|') // die "fork: $!" or do {
    my $text = join("\n", map { lc $_->[1] } @rows[0 .. 50000]);
    $text =~ s/(\d+)-(\d+)/$2:$1/g;
    print md5_hex($text), "\n";
    exit 0;
};
$_->[1] = 'rewritten' x 3 for @rows;
print while <$child>;
close $child or die "child: $?";
print md5_hex(join('|', map { $_->[1] } @rows)), "\n";
PERL
daemon_start_warm
same_output perl perl "$scratch/work.pl"
