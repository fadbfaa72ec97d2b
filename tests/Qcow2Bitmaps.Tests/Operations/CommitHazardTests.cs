using System.Buffers.Binary;
using System.Text;
using Qcow2Bitmaps.Operations;
using Qcow2Bitmaps.Tests.Images.Creation;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>Operations on damaged bitmaps, and calls that would lose something: refused, or nothing is lost.</summary>
public sealed class CommitHazardTests : IDisposable
{
    // Two pages of bits, with the smallest clusters and granules.
    private const int DiskBytes = 4 << 20;

    private readonly TempFolder _folder = TempFolder.InMemory();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Top => _folder.File("top.qcow2");

    private string Base => _folder.File("base.qcow2");

    private MergeOptions Merge => new() { TopPath = Top, BasePath = Base };

    public void Dispose() => _folder.Dispose();

    /// <summary>Mending its table would make the base's bitmap valid, without what was committed.</summary>
    [Fact]
    public async Task ABitmapWithABrokenTableKnowsOfWhatIsCommittedOnceItIsMended()
    {
        await MakeAsync();
        await BreakTableAsync();

        await CommitAsync(Merge);
        await Support.Cli.RunAsync("check", "-r", "bitmaps", Base);
        await Support.Cli.OkAsync("bitmap", "--enable", Base, "b");

        await using ImageChain chain = await ImageChain.OpenAsync(Base, cancellationToken: Token);
        Assert.True((await chain.JudgeBitmapAsync("b", cancellationToken: Token)).IsValid);
        List<DirtyExtent> dirty = await chain.ReadExtentsAsync("b", cancellationToken: Token).ToListAsync(Token);
        Assert.Contains(dirty, static extent => extent is { OffsetBytes: <= 512 << 10, EndBytes: >= 576 << 10 });
    }

    /// <summary>QEMU accepts a second bitmap of a name that is in use, and so do we.</summary>
    [Fact]
    public async Task ASecondBitmapOfANameDoesNotStopACommit()
    {
        await MakeAsync();
        await AddTwinAsync();
        await BreakTableAsync();

        await CommitAsync(Merge);

        await using Qcow2Image image = await Qcow2Image.OpenAsync(Base, cancellationToken: Token);
        Assert.Equal(BitmapState.Disabled, Assert.Single(image.Bitmaps).State);
    }

    [Fact]
    public async Task ImagesThatAreToBeKeptAreNotRemovedLater()
    {
        await MakeAsync();
        MergeOptions keeps = Merge with { KeepsImages = true };
        await CommitAsync(keeps);

        await Assert.ThrowsAsync<InvalidOperationException>(() => ChainCommit.RemoveRestAsync(Top, keeps, cancellationToken: Token));

        Assert.True(Path.Exists(Top));
    }

    [Fact]
    public async Task SnapshotsAreNotRemovedWithTheirImage()
    {
        await MakeAsync();
        await Support.Cli.OkAsync("snapshot", "-c", "s", Top);
        await using ChainCommit commit = await ChainCommit.OpenAsync(Top, Merge with { AcceptsLosses = true }, cancellationToken: Token);
        await commit.RunAsync(cancellationToken: Token);

        await Assert.ThrowsAsync<SnapshotStateException>(commit.RemoveCommittedAsync);

        Assert.True(Path.Exists(Top));
    }

    [Fact]
    public async Task AnOperationRunsOnce()
    {
        await MakeAsync();
        await using ChainCommit commit = await ChainCommit.OpenAsync(Top, Merge, cancellationToken: Token);
        await commit.RunAsync(cancellationToken: Token);

        await Assert.ThrowsAsync<InvalidOperationException>(() => commit.RunAsync(cancellationToken: Token));
    }

    /// <summary>The base's bitmaps are written first, and data only after them.</summary>
    [Fact]
    public async Task NothingIsWrittenBesideAnInterruptedEdit()
    {
        await MakeAsync();
        await File.WriteAllTextAsync(BitmapEditSet.JournalPathOf(Base), "", Token);
        byte[] before = await File.ReadAllBytesAsync(Base, Token);

        Qcow2UnsupportedException e = await Assert.ThrowsAsync<Qcow2UnsupportedException>(() => CommitAsync(Merge));

        Assert.Equal(Remedy.RecoverEdit, e.Remedy);
        Assert.Equal(before, await File.ReadAllBytesAsync(Base, Token));
    }

    [Fact]
    public async Task ARawDiskShrinksOnlyWhereThatIsAllowed()
    {
        string raw = _folder.File("disk.raw");
        await File.WriteAllBytesAsync(raw, new byte[DiskBytes], Token);
        var open = new ChainOpenOptions { TopFormat = "raw" };
        await using ChainResize resize = await ChainResize.OpenAsync(raw, open, Token);

        await Assert.ThrowsAsync<ArgumentException>(() => resize.RunAsync(DiskBytes / 2, cancellationToken: Token));

        Assert.Equal(DiskBytes, SparseFiles.LengthOf(raw));
    }

    /// <summary>The guest of a raw disk decides what its format looks like: a guess must not be stored.</summary>
    [Fact]
    public async Task ARebaseDoesNotGuessTheFormatOfItsBase()
    {
        await MakeAsync();
        string raw = _folder.File("disk.raw");
        await File.WriteAllBytesAsync(raw, new byte[DiskBytes], Token);
        byte[] before = await File.ReadAllBytesAsync(Top, Token);

        await Assert.ThrowsAsync<Qcow2FormatException>(
            () => ChainRebase.OpenRebaseAsync(Top, new MergeOptions { BasePath = raw }, cancellationToken: Token));

        Assert.Equal(before, await File.ReadAllBytesAsync(Top, Token));
    }

    private static async Task CommitAsync(string top, MergeOptions options)
    {
        await using ChainCommit commit = await ChainCommit.OpenAsync(top, options, cancellationToken: Token);
        await commit.RunAsync(cancellationToken: Token);
    }

    private Task CommitAsync(MergeOptions options) => CommitAsync(Top, options);

    /// <summary>A base and an overlay that record, and the guest wrote 64 KiB at 512 KiB to the overlay.</summary>
    private async Task MakeAsync()
    {
        await Qcow2Image.CreateAsync(Base, new Qcow2CreateOptions { SizeBytes = DiskBytes, ClusterSizeBytes = 512 }, Token);
        await Support.Cli.OkAsync("bitmap", "--add", "-g", "512", Base, "b");
        await Support.Cli.OkAsync("chain", "snapshot", Base, Top);
        await using ImageChain chain = await ImageChain.OpenAsync(
            Top, new ChainOpenOptions { WritableLayers = [0] }, Token);
        await using Disk writer = await chain.OpenWriterAsync(Token);
        await writer.WriteAsync(512 << 10, new byte[64 << 10].AsMemory(), Token);
        await writer.FlushAsync(Token);
    }

    /// <summary>Has the last entry of the table of the base's first bitmap be none.</summary>
    private Task BreakTableAsync() => ChangeAsync(static (bytes, image) =>
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan((int)image.Bitmaps[0].TableOffset + sizeof(ulong)), 0x1fe));

    /// <summary>Adds a bitmap that is in use, and has the name of the first one.</summary>
    private async Task AddTwinAsync()
    {
        await Support.Cli.OkAsync("bitmap", "--add", Base, "X");
        await ChangeAsync(static (bytes, image) =>
        {
            int directory = (int)image.Handle.Contents.First.Bitmaps!.Value.DirectoryOffset;
            int name = directory + bytes.AsSpan(directory).IndexOf(Encoding.UTF8.GetBytes("X"));
            bytes[name] = (byte)'b';
            // The flags stand 12 bytes behind the start of an entry of 24 bytes, which ends with the name's first byte.
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(name - 24 + 12), (uint)(BitmapFlags.InUse | BitmapFlags.Auto));
        });
    }

    private async Task ChangeAsync(Action<byte[], Qcow2Image> change)
    {
        byte[] bytes = await File.ReadAllBytesAsync(Base, Token);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(Base, cancellationToken: Token))
        {
            change(bytes, image);
        }

        await File.WriteAllBytesAsync(Base, bytes, Token);
    }
}
