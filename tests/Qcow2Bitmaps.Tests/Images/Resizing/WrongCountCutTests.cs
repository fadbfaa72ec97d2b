using System.Buffers.Binary;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Resizing;

/// <summary>A disk that becomes shorter cuts its file, and never what is in use, whatever the counts say.</summary>
public sealed class WrongCountCutTests
{
    private const int ClusterBits = 12;
    private const int ClusterBytes = 1 << ClusterBits;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("data")]
    [InlineData("compressed")]
    public async Task WhatIsNamedAndNotCountedStays(string what)
    {
        TestImage image = new TestImage(ClusterBits).WithGuestData(3).WithFreeClusters(16).WithGuestData(20);
        byte[] bytes = image.Build();
        // The last cluster of the file: nobody counts it.
        int end = bytes.Length;
        Array.Resize(ref bytes, end + ClusterBytes);
        bytes.AsSpan(end).Fill(0x5A);
        (int entry, ulong value) = what switch
        {
            "data" => (4 << ClusterBits, L2Entry.Create((ulong)end, isCopied: true).Raw),
            // A compressed cluster of one sector, at the end of the cluster.
            "compressed" => (4 << ClusterBits, (1UL << 62) + (ulong)(end + ClusterBytes - 512)),
            _ => throw new ArgumentOutOfRangeException(nameof(what)),
        };
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(entry), value);
        await using var storage = new MemoryStorage(bytes);
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);

        await opened.ResizeAsync(8 * ClusterBytes, new Qcow2ResizeOptions { AllowShrink = true }, Token);

        byte[] after = storage.ToArray();
        Assert.True(after.Length >= bytes.Length, $"{after.Length} bytes are left of {bytes.Length}");
        Assert.Equal(bytes.AsSpan(end), after.AsSpan(end, ClusterBytes));
    }

    /// <summary>Snapshots that all name one L1 table are too many to be followed: then nobody knows what the L2 tables name.</summary>
    [Fact]
    public async Task WhereNotAllTablesCanBeReadNothingIsCut()
    {
        const int Snapshots = 30_000;
        byte[] snapshot = Patched.Snapshot("1", "");
        BinaryPrimitives.WriteInt32BigEndian(snapshot.AsSpan(sizeof(ulong)), ClusterBytes / sizeof(ulong));
        Patched image = new Patched(new TestImage(ClusterBits).WithGuestData(3).WithFreeClusters(16).WithGuestData(20))
            .WithSnapshots([.. Enumerable.Repeat(snapshot, Snapshots)]);
        // All is counted but the last cluster of the file and the free one before it.
        int table = (int)BinaryPrimitives.ReadUInt64BigEndian(image.Bytes.AsSpan(HeaderLayout.SnapshotsOffset));
        int counted = (image.Bytes.Length + ClusterBytes - 1) / ClusterBytes;
        for (int cluster = table / ClusterBytes; cluster < counted; cluster++)
        {
            image.U16((2 << ClusterBits) + (2 * cluster), 1);
        }

        int end = (counted + 1) * ClusterBytes;
        byte[] bytes = image.Resize(end + ClusterBytes).U64(4 << ClusterBits, L2Entry.Create((ulong)end, isCopied: true).Raw).Bytes;
        bytes.AsSpan(end).Fill(0x5A);
        await using var storage = new MemoryStorage(bytes);
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
        var leftovers = new List<string>();
        using (Leftovers.TellTo(leftovers.Add))
        {
            await opened.ResizeAsync(8 * ClusterBytes, new Qcow2ResizeOptions { AllowShrink = true }, Token);
        }

        Assert.Contains("not all tables", Assert.Single(leftovers), StringComparison.Ordinal);
        Assert.Equal(bytes.AsSpan(end), storage.ToArray().AsSpan(end));
    }

    [Fact]
    public async Task WhatNobodyNamesIsCutOff()
    {
        byte[] bytes = new TestImage(ClusterBits).WithGuestData(3).WithFreeClusters(16).WithGuestData(20).Build();
        await using var storage = new MemoryStorage(bytes);
        await using Qcow2Image opened = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);

        await opened.ResizeAsync(2 * ClusterBytes, new Qcow2ResizeOptions { AllowShrink = true }, Token);

        Assert.True(storage.Length < bytes.Length - (20 * ClusterBytes), $"{storage.Length}");
        Assert.Equal(0, (await opened.CheckAsync(Token)).Leaks);
    }
}
