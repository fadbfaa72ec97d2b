using System.Security.Cryptography;
using Qcow2Bitmaps.Chains;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Chains;

/// <summary>The guest's bytes and the map of every fixture, against qemu-img.</summary>
public sealed class GuestReadTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public static TheoryData<string> Images =>
        [.. Directory.EnumerateFiles(FixtureFiles.Root, "*.qcow2", SearchOption.AllDirectories)
            .Select(static path => Path.GetRelativePath(FixtureFiles.Root, path))
            .Where(static path => !IsLeftOut(path))
            .Order(StringComparer.Ordinal)];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Images))]
    public async Task BytesAreThoseThatQemuReads(string relativePath)
    {
        Qemu.Require();
        string path = Path.Combine(FixtureFiles.Root, relativePath);
        await using ImageChain chain = await ImageChain.OpenAsync(path, cancellationToken: Token);
        if (chain.SizeBytes > 1L << 32)
        {
            // A disk of a terabyte is compared by its map alone.
            return;
        }

        string raw = _folder.File("disk.raw");
        // QEMU takes a data file's name relative to its own folder.
        ProcessResult converted = await Qemu.RunAsync(
            "qemu-img", Path.GetDirectoryName(path), "convert", "-U", "-f", "qcow2", "-O", "raw", path, raw);
        Assert.True(converted.ExitCode == 0, converted.Error);
        await using FileStream expected = File.OpenRead(raw);
        await using Stream actual = chain.OpenStream();
        Assert.Equal(expected.Length, actual.Length);
        Assert.Equal(await SHA256.HashDataAsync(expected, Token), await SHA256.HashDataAsync(actual, Token));
    }

    [Theory]
    [MemberData(nameof(Images))]
    public async Task TheMapIsThatOfQemu(string relativePath)
    {
        Qemu.Require();
        string path = Path.Combine(FixtureFiles.Root, relativePath);
        foreach (string form in new[] { "json", "human" })
        {
            ProcessResult theirs = await Qemu.RunAsync("qemu-img", Path.GetDirectoryName(path), "map", "-U", "--output=" + form, path);
            ProcessResult ours = await Support.Cli.RunAsync("map", "-U", "--output", form, path);
            Assert.Equal(theirs.ExitCode, ours.ExitCode);
            Assert.Equal(theirs.Output, ours.Output);
        }
    }

    /// <summary>Reads of any place and length give the same bytes as reading all.</summary>
    [Theory]
    [InlineData("chains/mixed-4/top.qcow2")]
    [InlineData("images/extended-l2.qcow2")]
    [InlineData("images/compression-zstd.qcow2")]
    [InlineData("images/compression-zlib.qcow2")]
    public async Task PiecesAreTheWhole(string relativePath)
    {
        await using ImageChain chain = await ImageChain.OpenAsync(Path.Combine(FixtureFiles.Root, relativePath), cancellationToken: Token);
        var whole = new byte[chain.SizeBytes];
        Assert.Equal(whole.Length, await chain.ReadAsync(0, whole, Token));
        Assert.Equal(0, await chain.ReadAsync(whole.Length, new byte[10], Token));
        uint state = 1;
        for (int i = 0; i < 300; i++)
        {
            state = unchecked((state * 1664525) + 1013904223);
            int offset = (int)(state % (uint)whole.Length);
            var piece = new byte[1 + (state >> 16)];
            int read = await chain.ReadAsync(offset, piece, Token);
            Assert.Equal(Math.Min(piece.Length, whole.Length - offset), read);
            Assert.True(whole.AsSpan(offset, read).SequenceEqual(piece.AsSpan(0, read)), $"{piece.Length} bytes at {offset}");
        }
    }

    /// <summary>Decoders hold memory that is not the garbage collector's: nothing can be unpacked any more.</summary>
    [Fact]
    public async Task AClosedChainHasFreedItsDecoders()
    {
        byte[] bytes = await File.ReadAllBytesAsync(Path.Combine(FixtureFiles.Root, "images/compression-zstd.qcow2"), Token);
        ImageChain chain = await ImageChain.OpenAsync(MemoryStorage.ReadOnly(bytes), cancellationToken: Token);
        var extents = new List<DiskExtent>();
        ChainDisk disk = await chain.OpenDataAsync(Token);
        await disk.ListAsync(0, disk.SizeBytes, extents, Token);
        DiskExtent packed = extents.First(static extent => extent.Kind == ExtentKind.Compressed);
        var cluster = new byte[packed.LengthBytes];
        await disk.ReadAsync(packed, cluster, Token);

        await chain.DisposeAsync();

        await Assert.ThrowsAsync<ObjectDisposedException>(async () => await disk.ReadAsync(packed, cluster, Token));
    }

    /// <summary>Encrypted images, which want a key, and those whose backing file is missing on purpose.</summary>
    private static bool IsLeftOut(string path) =>
        path.Contains("luks", StringComparison.Ordinal)
            || path.Contains("aes", StringComparison.Ordinal)
            || path.Contains("missing-ba", StringComparison.Ordinal)
        || path.Contains("escaping", StringComparison.Ordinal);
}
