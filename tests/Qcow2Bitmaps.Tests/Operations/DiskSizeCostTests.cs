using System.Globalization;
using Qcow2Bitmaps.Backups.Recording;
using Qcow2Bitmaps.Disks;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>
/// What verbs cost follows what is allocated, not how large the disk is: on one of 64 TiB with a cluster or two at most
/// twice the steps, and twice what is written, of one of 64 GiB; and the L1 tables. Steps are all calls of files, and
/// all look-ups in their tables, in memory too.
/// </summary>
public sealed class DiskSizeCostTests
{
    private const long Small = 64L << 30;
    private const int Factor = 1024;
    // File systems on disk end files at 16 TiB, some of them.
    private const long SmallRaw = 8L << 30;
    // Each look at an L1 table, and each piece of one that is read or written.
    private const int TableSteps = 16;
    private const int TableCopies = 4;
    private const int SmallClusterBytes = 64 << 10;
    private const long MostSteps = 40_000;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Images, what is done beforehand, and the verb.</summary>
    public static TheoryData<string, string, string> Verbs => new()
    {
        { "", "", "create -f qcow2 -o cluster_size=CLUSTER @x SIZE" },
        { "a", "", "info @a" },
        { "a", "", "check @a" },
        { "a", "", "check -r all @a" },
        { "a", "", "map @a" },
        { "b t<b", "", "map --output=json @t" },
        { "a c", "", "compare @a @c" },
        { "a c", "", "compare -s @a @c" },
        { "a", "", "measure -O qcow2 -o cluster_size=CLUSTER @a" },
        { "a", "", "measure -O raw @a" },
        { "a/b", "", "extents @a b0" },
        { "a", "", "bitmap --add -g 64M @a x" },
        { "a/b", "", "bitmap --add -g 2M --merge b0 @a x" },
        { "a/b", "", "bitmap --clear @a b0" },
        { "a/b", "", "bitmap --remove @a b0" },
        { "a", "", "snapshot -c s @a" },
        { "a", "snapshot -c s @a ; write a", "snapshot -a s @a" },
        { "a", "snapshot -c s @a ; write a", "snapshot -d s @a" },
        { "a/b", "", "resize @a +1G" },
        { "a", "", "resize --shrink @a HALF" },
        { "b t<b/8G", "", "resize @t SIZE" },
        { "a", "", "convert -O qcow2 -o cluster_size=CLUSTER @a @x" },
        { "a", "", "convert -c -O qcow2 -o cluster_size=CLUSTER @a @x" },
        { "a n/empty", "", "convert -n -O qcow2 @a @n" },
        { "a n/empty/v2", "", "convert -n -O qcow2 @a @n" },
        { "a n", "write n", "convert -n -O qcow2 @a @n" },
        { "a b n<b/empty", "", "convert -n -O qcow2 @a @n" },
        { "b t<b", "", "convert -O qcow2 -o cluster_size=CLUSTER -B @b -F qcow2 @t @x" },
        { "b c t<b", "", "convert -O qcow2 -o cluster_size=CLUSTER -B @c -F qcow2 @t @x" },
        { "b t<b", "", "commit @t" },
        { "b t<b", "", "commit -d @t" },
        { "b/v2 t<b/v2", "", "commit @t" },
        { "b/b t<b/b", "", "commit @t" },
        { "b c t<b", "", "rebase -b @c -F qcow2 @t" },
        { "b t<b", "", "rebase -b '' @t" },
        { "b/v2 t<b/v2", "", "rebase -b '' @t" },
        { "a c", "", "rebase -b @c -F qcow2 @a" },
        { "a/v2 c", "", "rebase -b @c -F qcow2 @a" },
        { "b c/8G t<b", "", "rebase -b @c -F qcow2 @t" },
        { "b c t<b", "", "rebase -u -b @c -F qcow2 @t" },
        { "b/b t<b/b", "", "chain check @t" },
        { "b/b t<b/b", "", "chain snapshot @t @x" },
        { "b/b m<b/b t<m/b", "", "chain commit @t @b" },
        { "b m<b/8G t<m", "", "chain commit @t @b" },
        { "b m<b t<m", "", "chain pull @t" },
        { "b m<b t<m", "", "chain pull --base @b @t" },
        { "b m<b/8G t<m", "", "chain pull --base @b @t" },
        { "b/b t<b/b", "", "chain flatten @t @x" },
        { "b/b t<b", "", "chain populate --trust-birth --all-dirty @t b0" },
        { "b/b t<b/b", "", "chain measure --commit @b @t" },
        { "b/b t<b/b", "", "chain measure --flatten @t" },
        { "b/b t<b/b", "", "chain measure --pull @t" },
        { "b/b t<b/b", "", "chain delete @t b0" },
        { "a", "", "backup full --checkpoint cp0 @a @f" },
        { "a", "backup full --checkpoint cp0 @a @f ; write a", "backup incremental --since cp0 --checkpoint cp1 @a @i" },
        {
            "a",
            "backup full --checkpoint cp0 @a @f ; write a ; backup incremental --since cp0 --checkpoint cp1 @a @i",
            "backup verify --disk @a @i"
        },
        {
            "a",
            "backup full --checkpoint cp0 @a @f ; write a ; backup incremental --since cp0 --checkpoint cp1 @a @i",
            "backup restore @i @r"
        },
        {
            "a",
            "backup full --checkpoint cp0 @a @f ; resize --shrink @a HALF ; backup incremental --since cp0 --checkpoint cp1 @a @i ; "
            + "resize @a SIZE ; backup incremental --since cp1 @a @j",
            "backup restore @j @r"
        },
    };

    public static TheoryData<string, string, string> RawVerbs => new()
    {
        { "", "", "create -f raw @x SIZE" },
        { "a", "", "convert -O raw @a @x" },
        { "a", "create -f raw @x SIZE", "convert -n -O raw @a @x" },
        { "a", "", "backup full -O raw @a @f" },
        { "a", "backup full --checkpoint cp0 @a @f ; write a ; backup incremental --since cp0 @a @i", "backup restore -O raw @i @r" },
        { "a", "create -f raw @x SIZE", "rebase -b @x -F raw @a" },
    };

    [Theory]
    [MemberData(nameof(Verbs))]
    public Task FollowsWhatIsAllocated(string images, string before, string verb) => VerifyAsync(images, before, verb, Small);

    [Theory]
    [MemberData(nameof(RawVerbs))]
    public Task FollowsWhatIsAllocatedInRawImages(string images, string before, string verb) => VerifyAsync(images, before, verb, SmallRaw);

    /// <summary>Also jobs beside a running machine, each to an image without anything: a file, or one that somebody has open.</summary>
    [Theory]
    [InlineData("qcow2", 64 << 10, "file")]
    [InlineData("qcow2", 2 << 20, "file")]
    [InlineData("raw", 64 << 10, "file")]
    [InlineData("qcow2", 64 << 10, "session")]
    [InlineData("qcow2", 2 << 20, "session")]
    [InlineData("qcow2", 64 << 10, "writer")]
    [InlineData("raw", 64 << 10, "storage")]
    public async Task AFullBackupJobFollowsWhatIsAllocated(string format, int clusterBytes, string openAs)
    {
        long small = format == "raw" ? SmallRaw : Small;
        await CompareAsync(small, clusterBytes, async size =>
        {
            using var disk = new SparseDisk(size, clusterBytes);
            await disk.MakeAsync("a");
            await disk.DoAsync($"create -f {format} @f SIZE");
            return await CountAsync(async () =>
            {
                await using RecordingSession session = await RecordingSession.OpenAsync(disk.File("a"), cancellationToken: Token);
                await using ImageChain? other = openAs == "file"
                    ? null
                    : await ImageChain.OpenAsync(disk.File("f"), new ChainOpenOptions { TopFormat = format, WritableLayers = [0] }, Token);
                await using RecordingSession? otherSession = openAs == "session"
                    ? await RecordingSession.OpenAsync(other!, leaveOpen: true, Token)
                    : null;
                await using Disk? writer = openAs == "writer" ? await other!.OpenWriterAsync(Token) : null;
                await using Disk? file = openAs == "file"
                    ? await ImageChain.OpenWriterAsync(disk.File("f"), format, cancellationToken: Token)
                    : null;
                Disk target = openAs switch
                {
                    "session" => otherSession!,
                    "writer" => writer!,
                    "storage" => new RawDisk(other!.Layers[0].Storage),
                    _ => file!,
                };
                await using BackupJob job = await session.StartBackupAsync(
                    new BackupJobOptions { Sync = BackupSync.Full, Target = target }, Token);
                BackupJobState state = await job.WaitAsync(Token);
                Assert.True(state == BackupJobState.Completed, $"{state}: {job.Error?.Message}");
                Assert.Equal(size, job.CopiedBytes);
            });
        });
    }

    private static async Task VerifyAsync(string images, string before, string verb, long small)
    {
        foreach (int clusterBytes in (int[])[SmallClusterBytes, 2 << 20])
        {
            await CompareAsync(small, clusterBytes, async size =>
            {
                using var disk = new SparseDisk(size, clusterBytes);
                await disk.MakeAsync(images);
                await disk.DoAsync(before);
                return await CountAsync(() => disk.DoAsync(verb));
            });
        }
    }

    private static async Task CompareAsync(long small, int clusterBytes, Func<long, Task<WorkTrace>> measure)
    {
        WorkTrace one = await measure(small);
        WorkTrace other = await measure(small * Factor);
        // Backups have clusters of 64 KiB; and a table has a cluster to itself.
        long table = Math.Max(small * Factor / SmallClusterBytes / (SmallClusterBytes / sizeof(long)) * sizeof(long), clusterBytes);
        string what = string.Create(
            CultureInfo.InvariantCulture,
            $"clusters of {clusterBytes}: {one.Steps} steps become {other.Steps}, {one.WrittenBytes} bytes written {other.WrittenBytes}; "
            + $"the L1 table takes {table} bytes");
        TestContext.Current.TestOutputHelper?.WriteLine(what);
        Assert.True(other.Steps <= (2 * one.Steps) + TableSteps, what);
        Assert.True(other.WrittenBytes <= (2 * one.WrittenBytes) + (TableCopies * table), what);
    }

    private static async Task<WorkTrace> CountAsync(Func<Task> work)
    {
        var trace = new WorkTrace(MostSteps);
        FileTrace.Current = trace;
        try
        {
            await work();
        }
        finally
        {
            FileTrace.Current = null;
        }

        return trace;
    }
}
