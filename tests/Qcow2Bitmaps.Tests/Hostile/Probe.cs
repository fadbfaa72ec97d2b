using Qcow2Bitmaps.Bitmaps;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Opens an image, reads all that can be read of it, and keeps what came of it. Faults are kept, bugs escape.</summary>
internal sealed class Probe
{
    private readonly Strictness _strictness;

    private Probe(Strictness strictness) => _strictness = strictness;

    /// <summary>Why the image was not opened.</summary>
    public Qcow2Exception? OpenError { get; private set; }

    public List<FormatFault> OpenFindings { get; } = [];

    /// <summary>Why something of an open image could not be read.</summary>
    public List<Qcow2Exception> ReadErrors { get; } = [];

    public List<FormatFault> ReadFindings { get; } = [];

    /// <summary>The bits of the bitmaps that could be read, by place in the directory.</summary>
    public Dictionary<int, DirtyBitmap> Bitmaps { get; } = [];

    /// <summary>What opening allocated on this thread, in bytes.</summary>
    public long OpenAllocatedBytes { get; private set; }

    /// <summary>What the costliest single reading allocated on this thread, in bytes.</summary>
    public long ReadAllocatedBytes { get; private set; }

    public bool IsAccepted => OpenError is null && ReadErrors.Count == 0;

    public static async Task<Probe> RunAsync(ImageStorage storage, Strictness strictness, CancellationToken cancellationToken)
    {
        var probe = new Probe(strictness);
        long before = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            await using Qcow2Image image = await Qcow2Image.OpenAsync(
                storage, new Qcow2OpenOptions { Strictness = strictness }, cancellationToken: cancellationToken);
            probe.OpenAllocatedBytes = GC.GetAllocatedBytesForCurrentThread() - before;
            probe.OpenFindings.AddRange(image.Findings);
            await probe.ReadAsync(image, cancellationToken);
        }
        catch (Qcow2Exception e)
        {
            probe.OpenAllocatedBytes = GC.GetAllocatedBytesForCurrentThread() - before;
            probe.OpenError = e;
        }

        return probe;
    }

    private async Task ReadAsync(Qcow2Image image, CancellationToken cancellationToken)
    {
        await TryAsync(async () => await image.ReadLuksHeaderAsync(ReadFindings, cancellationToken));
        await TryAsync(async () => await image.CheckAsync(cancellationToken));
        foreach (BitmapInfo bitmap in image.Bitmaps)
        {
            // The first of a name is the one that is found.
            if ((_strictness == Strictness.AsQemu && bitmap.State == BitmapState.Inconsistent)
                || !image.Bitmaps.TryGet(bitmap.Name, out BitmapInfo? first) || first.Index != bitmap.Index)
            {
                continue;
            }

            int errors = ReadErrors.Count;
            DirtyBitmap? bits = null;
            await TryAsync(async () => bits = await image.Bitmaps.LoadAsync(bitmap.Name, ReadFindings, cancellationToken));
            await TryAsync(async () => await CheckExtentsAsync(image, bitmap.Name, bits, cancellationToken));
            await TryAsync(async () => Assert.Equal(bits?.Count(), await image.Bitmaps.CountAsync(bitmap.Name, cancellationToken)));
            if (bits is not null && ReadErrors.Count == errors)
            {
                Bitmaps.Add(bitmap.Index, bits);
            }
        }
    }

    private async Task TryAsync(Func<Task> read)
    {
        long before = GC.GetAllocatedBytesForCurrentThread();
        try
        {
            await read();
        }
        catch (Qcow2Exception e)
        {
            ReadErrors.Add(e);
        }

        ReadAllocatedBytes = Math.Max(ReadAllocatedBytes, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    /// <summary>The ranges that are streamed are those of the bitmap in memory, in ascending order and inside the disk.</summary>
    private async Task CheckExtentsAsync(Qcow2Image image, string name, DirtyBitmap? bits, CancellationToken cancellationToken)
    {
        long end = 0;
        DirtyExtentEnumerable expected = bits?.EnumerateExtents(includeClean: true) ?? default;
        await foreach (DirtyExtent extent in image.Bitmaps.ReadExtentsAsync(name, includeClean: true, ReadFindings, cancellationToken))
        {
            Assert.Equal(end, extent.OffsetBytes);
            end = extent.EndBytes;
            Assert.True(bits is null || expected.MoveNext());
            Assert.True(bits is null || expected.Current == extent);
        }

        Assert.Equal(image.VirtualSizeBytes, end);
    }
}
