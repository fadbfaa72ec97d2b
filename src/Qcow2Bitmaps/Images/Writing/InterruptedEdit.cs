using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Images.Writing;

/// <summary>The journal of an edit of several images, which lies next to the first of them until the edit is done.</summary>
internal static class InterruptedEdit
{
    private const string JournalSuffix = ".bitmap-edits";

    /// <summary>The journal's path for an edit with a given first image.</summary>
    public static string JournalPathOf(string imagePath) => FileNames.Whole(imagePath) + JournalSuffix;

    /// <summary>Throws if a change would make it impossible to finish an interrupted edit.</summary>
    /// <exception cref="Qcow2UnsupportedException">There is a journal.</exception>
    public static void RequireNone(ImageHandle image)
    {
        if (image.Storage is FileStorage && JournalPathOf(image.Name) is var journal && DurableFile.Exists(journal))
        {
            throw new Qcow2UnsupportedException(
                UnsupportedReason.InterruptedEdit,
                $"'{image.Name}': an edit of several images was interrupted, as '{journal}' says. Finish it first, with all its images")
            {
                Remedy = Remedy.RecoverEdit,
            };
        }
    }
}
