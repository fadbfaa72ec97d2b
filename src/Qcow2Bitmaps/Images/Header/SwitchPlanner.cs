using System.Buffers.Binary;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>Plans changes of the first cluster as crash-safe writes. Pure: does no I/O.</summary>
/// <remarks>
/// <para>A change within one sector is one write. Otherwise a plan leads through intermediate states of the cluster, each of which readers
/// see as the old or the new state. From one state to the next, bytes that no reader uses are written first, then the sectors one by one,
/// from the last or from the first, whichever order passes that test.</para>
/// <para>One exception is unavoidable: if the header and the bitmaps extension lie in different sectors, then while the first bitmaps are
/// being added or the last ones removed, the extension may exist with the autoclear bit off. Every reader treats that as an image without
/// bitmaps. The reverse, which QEMU does not survive, never occurs.</para>
/// </remarks>
internal sealed partial class SwitchPlanner
{
    private readonly string _imageName;
    private readonly Qcow2Header _header;
    private readonly byte[] _before;
    private readonly HeaderChange _change;
    private readonly ExtensionArea _area;

    public SwitchPlanner(string imageName, Qcow2Header header, byte[] firstCluster, HeaderChange change)
    {
        _imageName = imageName;
        _header = header;
        _before = firstCluster;
        _change = change;
        _area = new ExtensionArea(firstCluster, header);
        if (_area.Fault is { } fault)
        {
            throw new Qcow2FormatException(fault, imageName);
        }
    }

    private int Start => (int)_header.HeaderLength;

    /// <summary>Plans the change.</summary>
    /// <exception cref="Qcow2UnsupportedException">The first cluster has too little space for it.</exception>
    /// <exception cref="Qcow2FormatException">The first cluster cannot be changed in this way.</exception>
    public SwitchPlan Plan()
    {
        foreach (byte[]?[] states in _change.ChangesBitmaps ? BitmapWays() : BackingWays())
        {
            if (states[^1] is { } last
                && (TryInOneSector(last) ?? TryInOrder(states, fromLast: true) ?? TryInOrder(states, fromLast: false)) is { } plan)
            {
                return plan;
            }
        }

        string what = _change.ChangesBitmaps ? $"the bitmaps extension: the first cluster of {_before.Length} bytes is full"
            : _change.BackingFile is not { } name ? $"the end of its extensions: the first cluster has {_before.Length} bytes"
            : $"a backing file name of {name.Length} bytes and its format: the first cluster has {_before.Length} bytes";
        throw new Qcow2UnsupportedException(
            UnsupportedReason.NoRoomInHeader, $"'{_imageName}': No space left in the file header for {what}");
    }

    private SwitchPlan? TryInOneSector(byte[] last) =>
        SectorWrite.Between(_before, last) is { Count: <= 1 } writes ? SwitchPlan.InOneSector(writes) : null;

    /// <summary>Tries a plan through given states.</summary>
    /// <returns>The plan; null if readers would see something other than the old or the new state.</returns>
    private SwitchPlan? TryInOrder(byte[]?[] states, bool fromLast)
    {
        HeaderView? before = HeaderView.Of(_before, _header);
        HeaderView? after = HeaderView.Of(states[^1], _header);
        var stages = new List<IReadOnlyList<SectorWrite>>();
        byte[] now = [.. _before];
        foreach (byte[] state in states.OfType<byte[]>())
        {
            List<SectorWrite> writes = SectorWrite.Between(now, state);
            if (writes.Count > 1)
            {
                byte[] staged = [.. state];
                new ExtensionArea(now, _header).CopySeen(now, staged);
                List<SectorWrite> unseen = SectorWrite.Between(now, staged);
                if (unseen.Count > 0 && !TryAdd(unseen))
                {
                    return null;
                }

                writes = SectorWrite.Between(now, state);
            }

            foreach (SectorWrite write in fromLast ? Enumerable.Reverse(writes) : writes)
            {
                if (!TryAdd([write]))
                {
                    return null;
                }
            }
        }

        return new SwitchPlan(stages);

        bool TryAdd(List<SectorWrite> stage)
        {
            stages.Add(stage);
            stage.ForEach(write => write.After.CopyTo(now.AsMemory(write.Offset)));
            return HeaderView.Of(now, _header) is { } view && (view.Reads(before) || view.Reads(after));
        }
    }

    /// <summary>Makes all changes take effect when the first sector is written, wherever the extensions lie.</summary>
    /// <remarks>
    /// The new extensions are written after all existing bytes, starting with the first one that changes, or else with the last one that
    /// starts in the first sector. Then the first sector switches to that copy: a filler replaces the first of them and reaches up to the
    /// copy. Then the original place is updated, and the first sector switches back to it. Finally the copy is cleared.
    /// </remarks>
    /// <param name="extensions">All new extensions, with their end marker.</param>
    /// <param name="name">The new backing file name; empty without one.</param>
    /// <param name="finalOf">Builds the final cluster; the argument is the end of the copy, where the name may be placed.</param>
    /// <returns>The states; none if there is too little space.</returns>
    private byte[]?[] ByWayOfACopy(byte[] extensions, byte[] name, Func<int, byte[]> finalOf)
    {
        int same = Start + extensions.AsSpan().CommonPrefixLength(_before.AsSpan(Start));
        const int LastStart = SectorWrite.SectorBytes - HeaderExtension.HeaderBytes;
        int jump = _area.Starts.Where(start => start <= Math.Min(same, LastStart)).Append(-1).Max();
        ReadOnlySpan<byte> tail = extensions.AsSpan(Math.Max(jump, Start) - Start);
        int copy = Align(Math.Max(Start + extensions.Length, Math.Max(_area.End, _area.NameEnd)));
        int copyEnd = copy + tail.Length;
        if (jump < 0 || (jump & 7) != 0 || copyEnd + name.Length > _before.Length)
        {
            return [null];
        }

        byte[] final = finalOf(copyEnd);
        byte[] copied = [.. _before];
        tail.CopyTo(copied.AsSpan(copy));
        name.CopyTo(copied, copyEnd);
        byte[] switched = [.. copied];
        final.AsSpan(0, Start).CopyTo(switched);
        WriteExtensionHeader(switched, jump, ExtensionArea.Filler, copy - jump - HeaderExtension.HeaderBytes);
        // Also where the name is empty: extensions end where it starts.
        if (BinaryPrimitives.ReadUInt64BigEndian(final.AsSpan(HeaderLayout.BackingFileOffset)) != 0)
        {
            BinaryPrimitives.WriteUInt64BigEndian(switched.AsSpan(HeaderLayout.BackingFileOffset), (ulong)copyEnd);
        }

        byte[] mended = [.. final];
        switched.AsSpan(0, SectorWrite.SectorBytes).CopyTo(mended);
        switched.AsSpan(copy..(copyEnd + name.Length)).CopyTo(mended.AsSpan(copy));
        byte[] back = [.. mended];
        final.AsSpan(0, SectorWrite.SectorBytes).CopyTo(back);
        return [copied, switched, mended, back, final];
    }

    private static void WriteExtensionHeader(Span<byte> cluster, int start, HeaderExtensionType type, int length)
    {
        BinaryPrimitives.WriteUInt32BigEndian(cluster[start..], (uint)type);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[(start + sizeof(uint))..], (uint)length);
    }

    private static int Align(int offset) => (offset + 7) & ~7;
}
