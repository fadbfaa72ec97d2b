using System.Runtime.CompilerServices;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.Editing;

namespace Qcow2Bitmaps;

/// <summary>The steps of one edit of an image's bitmaps, in the order in which they are applied.</summary>
/// <remarks>
/// This class only collects steps; <see cref="BitmapCollection.EditAsync(BitmapEdit, CancellationToken)"/> applies all of them or, if one
/// is refused, none. Each step sees the effect of earlier steps. The rules are QEMU's: an inconsistent bitmap can only be removed. Not
/// thread-safe.
/// </remarks>
public sealed class BitmapEdit
{
    private readonly List<(string Operation, Func<EditPlan, CancellationToken, ValueTask> Apply)> _steps = [];

    /// <summary>The number of steps so far.</summary>
    internal int Count => _steps.Count;

    /// <summary>Says what is wrong with the name of a new bitmap.</summary>
    /// <param name="name">The name.</param>
    /// <returns>A sentence; null when the name is 1 to 1023 bytes of UTF-8 without a NUL.</returns>
    public static string? FindNameFault(string name) => BitmapName.FaultOf(name);

    /// <summary>Adds a bitmap in which nothing is dirty.</summary>
    /// <param name="name">Its name: 1 to 1023 bytes of UTF-8 without NUL.</param>
    /// <param name="granularityBytes">How many bytes a bit stands for, a power of two from 512 to 2 GiB; null for QEMU's default, the
    /// cluster size within 4 KiB to 64 KiB.</param>
    /// <param name="isRecording">Whether it records writes from now on.</param>
    /// <returns>This edit.</returns>
    /// <exception cref="ArgumentException">The name or the granularity is not allowed.</exception>
    /// <remarks>Refused if the name exists, in version 2, and above QEMU's limits: 65535 bitmaps, 512 MiB of bits for each.</remarks>
    public BitmapEdit Add(string name, long? granularityBytes = null, bool isRecording = true)
    {
        RequireName(name);
        if (granularityBytes is { } granularity)
        {
            _ = BitmapGranularity.BitsOf(granularity);
        }

        return Step("add", plan => plan.Add(name, granularityBytes, isRecording));
    }

    /// <summary>Adds a bitmap with a name from another image: stored names may be empty or not UTF-8, which QEMU accepts.</summary>
    internal BitmapEdit AddCarried(string name, long granularityBytes, bool isRecording = true) =>
        Step("add", plan => plan.Add(name, granularityBytes, isRecording));

    /// <summary>Puts an empty bitmap in place of all that have its name: none, one, or one that cannot be used and another.</summary>
    internal BitmapEdit Replace(string name, long granularityBytes, bool isRecording) =>
        Step("remove", plan => plan.RemoveNamed(name)).AddCarried(name, granularityBytes, isRecording);

    /// <summary>Removes a bitmap, an inconsistent one too.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>This edit.</returns>
    public BitmapEdit Remove(string name) => Step("remove", name, plan => plan.Remove(name));

    /// <summary>Removes all bitmaps; no error if there are none.</summary>
    /// <returns>This edit.</returns>
    public BitmapEdit RemoveAll() => Step("remove", static plan => plan.RemoveAll());

    /// <summary>
    /// Drops the entries that a lenient reader lists as broken and that QEMU refuses; of bitmaps that share a name, drops all.
    /// </summary>
    /// <returns>This edit.</returns>
    /// <remarks>
    /// Their clusters are not freed, as it is uncertain which belong to them: a check that repairs leaks frees them. For images that were
    /// opened leniently.
    /// </remarks>
    internal BitmapEdit DropBroken() => Step("remove", static plan => plan.DropBroken());

    /// <summary>Makes a bitmap clean, or a range of it: every granule that lies inside it as a whole.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="offsetBytes">Where the range starts on the disk, in bytes, not negative; 0 where the length is null.</param>
    /// <param name="lengthBytes">Its length in bytes, not negative; null for the whole bitmap. Refused where the range does not lie inside
    /// the disk.</param>
    /// <returns>This edit.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The offset or the length is negative, or an offset has no length.</exception>
    public BitmapEdit Clear(string name, long offsetBytes = 0, long? lengthBytes = null)
    {
        if (lengthBytes is { } length)
        {
            return Fill("clear", name, offsetBytes, length, false);
        }

        ArgumentOutOfRangeException.ThrowIfNotEqual(offsetBytes, 0);
        return Step("clear", name, plan => plan.Clear(name));
    }

    /// <summary>Makes a range of a bitmap dirty: every granule that it touches.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="offsetBytes">Where the range starts on the disk, not negative.</param>
    /// <param name="lengthBytes">Its length, not negative. Refused where it does not lie inside the disk.</param>
    /// <returns>This edit.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The offset or the length is negative.</exception>
    public BitmapEdit Set(string name, long offsetBytes, long lengthBytes) => Fill("set", name, offsetBytes, lengthBytes, true);

    /// <summary>Makes a bitmap record writes.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>This edit.</returns>
    public BitmapEdit Enable(string name) => Step("enable", name, plan => plan.SetRecording(name, true));

    /// <summary>Makes a bitmap stop recording writes.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>This edit.</returns>
    public BitmapEdit Disable(string name) => Step("disable", name, plan => plan.SetRecording(name, false));

    /// <summary>Renames a bitmap.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="newName">The new name: 1 to 1023 bytes of UTF-8 without NUL. Refused if another bitmap has it.</param>
    /// <returns>This edit.</returns>
    /// <exception cref="ArgumentException">The new name is not allowed.</exception>
    public BitmapEdit Rename(string name, string newName)
    {
        RequireName(newName);
        return Step("rename", name, plan => plan.Rename(name, newName));
    }

    /// <summary>Adds all dirty ranges of another bitmap of the image, as they are at this step. Merging a bitmap into itself changes
    /// nothing.</summary>
    /// <param name="source">The bitmap to read, of any granularity; rounded out where it is finer.</param>
    /// <param name="into">The bitmap that takes its bits.</param>
    /// <returns>This edit.</returns>
    public BitmapEdit Merge(string source, string into)
    {
        ArgumentNullException.ThrowIfNull(source);
        return Step("merge", into, (plan, cancellationToken) => plan.MergeAsync(source, into, cancellationToken));
    }

    /// <summary>Adds all dirty ranges of a bitmap of another image.</summary>
    /// <param name="image">The other image, open until the edit is done.</param>
    /// <param name="source">The bitmap to read, of any granularity and size: it counts as clean past its end, and ranges past this image's
    /// end are ignored.</param>
    /// <param name="into">The bitmap that takes its bits.</param>
    /// <param name="requireSameSize">Whether a disk of another size is refused, as QEMU does.</param>
    /// <returns>This edit.</returns>
    public BitmapEdit Merge(Qcow2Image image, string source, string into, bool requireSameSize = false)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(source);
        return Step(
            "merge", into, (plan, cancellationToken) => plan.MergeAsync(image.Handle, source, into, requireSameSize, cancellationToken));
    }

    /// <summary>Adds all dirty ranges of a bitmap in memory.</summary>
    /// <param name="source">The bits, of any granularity and size; they must not change until the edit is done.</param>
    /// <param name="into">The bitmap that takes them.</param>
    /// <returns>This edit.</returns>
    public BitmapEdit Merge(DirtyBitmap source, string into)
    {
        ArgumentNullException.ThrowIfNull(source);
        return Step("merge", into, (plan, cancellationToken) => plan.MergeAsync(source, into, cancellationToken));
    }

    /// <summary>Marks all stored bitmaps as outdated (in use): a session keeps them in memory.</summary>
    internal BitmapEdit MarkInUse() => Step("mark", static plan => plan.MarkInUse());

    /// <summary>
    /// Stores a bitmap that was kept in memory, as consistent: replaces the bits and flags of an existing one, or adds it.
    /// </summary>
    /// <param name="name">Its name.</param>
    /// <param name="bits">Its bits; they must not change until the edit is done.</param>
    /// <param name="isRecording">Whether it records writes.</param>
    /// <param name="isChanged">Whether the bits may differ from those that are stored.</param>
    internal BitmapEdit Store(string name, DirtyBitmap bits, bool isRecording, bool isChanged) =>
        Step("store", plan => plan.Store(name, bits, isRecording, isChanged));

    /// <summary>Applies the steps to a plan.</summary>
    /// <exception cref="BitmapStateException">A step is refused; the exception says which.</exception>
    internal async ValueTask ApplyAsync(EditPlan plan, CancellationToken cancellationToken)
    {
        foreach ((string operation, Func<EditPlan, CancellationToken, ValueTask> apply) in _steps)
        {
            try
            {
                await apply(plan, cancellationToken).ConfigureAwait(false);
            }
            catch (BitmapStateException e)
            {
                e.Operation = operation;
                throw;
            }
        }
    }

    private static void RequireName(string name, [CallerArgumentExpression(nameof(name))] string? parameter = null)
    {
        if (BitmapName.FaultOf(name) is { } fault)
        {
            throw new ArgumentException(fault, parameter);
        }
    }

    private BitmapEdit Fill(string operation, string name, long offsetBytes, long lengthBytes, bool value)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offsetBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(lengthBytes);
        return Step(operation, name, (plan, cancellationToken) => plan.FillAsync(name, offsetBytes, lengthBytes, value, cancellationToken));
    }

    private BitmapEdit Step(string operation, string name, Action<EditPlan> apply)
    {
        ArgumentNullException.ThrowIfNull(name);
        return Step(operation, apply);
    }

    private BitmapEdit Step(string operation, Action<EditPlan> apply)
    {
        _steps.Add((operation, (plan, _) =>
        {
            apply(plan);
            return ValueTask.CompletedTask;
        }
        ));
        return this;
    }

    private BitmapEdit Step(string operation, string name, Func<EditPlan, CancellationToken, ValueTask> apply)
    {
        ArgumentNullException.ThrowIfNull(name);
        _steps.Add((operation, apply));
        return this;
    }
}
